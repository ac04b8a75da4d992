// The dashboards as a mixin, for those who make theirs with Jsonnet.
{
  grafanaDashboards+:: {
    'vae-detect-fleet.json': import 'v1/fleet.json',
    'vae-detect-model.json': import 'v1/model.json',
    'vae-detect-service.json': import 'v1/service.json',
  },
}
