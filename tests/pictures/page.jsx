// A page with nothing but a dashboard, drawn by the packages that Perses itself is made of: draw(dashboard, url).

import { createRoot } from "react-dom/client";
import { CssBaseline, ThemeProvider, Typography } from "@mui/material";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { QueryParamProvider } from "use-query-params";
import { WindowHistoryAdapter } from "use-query-params/adapters/window";
import { ChartsProvider, SnackbarProvider, generateChartsTheme, getTheme } from "@perses-dev/components";
import { PluginRegistry, ValidationProvider } from "@perses-dev/plugin-system";
import { ViewDashboard } from "@perses-dev/dashboards";
import * as bar from "@perses-dev/bar-chart-plugin";
import * as datasources from "@perses-dev/datasource-variable-plugin";
import * as gauge from "@perses-dev/gauge-chart-plugin";
import * as heatmap from "@perses-dev/heatmap-chart-plugin";
import * as history from "@perses-dev/status-history-chart-plugin";
import * as lists from "@perses-dev/static-list-variable-plugin";
import * as markdown from "@perses-dev/markdown-plugin";
import * as prometheus from "@perses-dev/prometheus-plugin";
import * as stat from "@perses-dev/stat-chart-plugin";
import * as table from "@perses-dev/table-plugin";
import * as timeSeries from "@perses-dev/timeseries-chart-plugin";

// Perses fetches plugins from its server. Here they are in the bundle, under the descriptions that each carries.
const plugins = new Map(
  [bar, datasources, gauge, heatmap, history, lists, markdown, prometheus, stat, table, timeSeries].map((module) => [
    module.getPluginModule(),
    module,
  ]),
);
const pluginLoader = {
  getInstalledPlugins: async () => [...plugins.keys()],
  importPluginModule: async (description) => plugins.get(description),
};

function onlySource(url) {
  const source = {
    kind: "GlobalDatasource",
    metadata: { name: "prometheus" },
    spec: { default: true, plugin: { kind: "PrometheusDatasource", spec: { directUrl: url } } },
  };
  return {
    getDatasource: async () => undefined,
    getGlobalDatasource: async () => source,
    listDatasources: async () => [],
    listGlobalDatasources: async () => [source],
  };
}

window.draw = (dashboard, url) => {
  const theme = getTheme("light");
  const wrappers = [
    [ThemeProvider, { theme }],
    [ChartsProvider, { chartsTheme: generateChartsTheme(theme, {}) }],
    [SnackbarProvider, {}],
    [QueryClientProvider, { client: new QueryClient() }],
    [QueryParamProvider, { adapter: WindowHistoryAdapter }],
    [PluginRegistry, { pluginLoader, defaultPluginKinds: { Datasource: "PrometheusDatasource" } }],
    [ValidationProvider, {}],
  ];
  const view = (
    <ViewDashboard
      dashboardResource={dashboard}
      dashboardTitleComponent={<Typography variant="h2">{dashboard.spec.display.name}</Typography>}
      datasourceApi={onlySource(url)}
      isReadonly
      isVariableEnabled
    />
  );
  createRoot(document.getElementById("root")).render(
    <>
      <CssBaseline />
      {wrappers.reduceRight((inner, [Wrapper, given]) => <Wrapper {...given}>{inner}</Wrapper>, view)}
    </>,
  );
};
