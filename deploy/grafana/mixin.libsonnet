// The dashboards and the rules as a mixin, for those who make theirs with Jsonnet.
local groups = std.parseYaml(importstr '../rules.yml').groups;
local only(kind) = {
  groups: [
    group { rules: [rule for rule in group.rules if kind in rule] }
    for group in groups
    if std.length([rule for rule in group.rules if kind in rule]) > 0
  ],
};
{
  grafanaDashboards+:: {
    'vae-detect-fleet.json': import 'v1/fleet.json',
    'vae-detect-model.json': import 'v1/model.json',
    'vae-detect-service.json': import 'v1/service.json',
  },
  prometheusAlerts+:: only('alert'),
  prometheusRules+:: only('record'),
}
