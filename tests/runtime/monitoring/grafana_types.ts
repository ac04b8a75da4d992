// The types that Grafana ships, as narrow as they are for the panels that we draw: what test_grafana_types.py gives tsc.
import type {
  AnnotationQuery,
  Dashboard,
  DataQuery,
  DataSourceRef,
  FieldConfig,
  FieldConfigSource,
  Panel,
  RowPanel,
  TableFieldOptions,
} from '@grafana/schema';
import type { Spec } from '@grafana/schema/apis/dashboard.grafana.app/v2';
import type { Options as Ranking } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as Numbers } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as StatesDrawing,
  Options as States,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type { Options as Table } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type {
  FieldConfig as LinesDrawing,
  Options as Lines,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** As it is in JSON: the strings of an enum instead of its members. */
type Json<T> = unknown extends T ? T : T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

/** A query as Grafana's plugin for Prometheus takes it, whose types are not shipped. */
interface Target extends DataQuery {
  datasource: DataSourceRef;
  editorMode: 'code';
  exemplar: boolean;
  expr: string;
  format: 'time_series' | 'table';
  instant: boolean;
  range: boolean;
  legendFormat: string;
}

/** What that plugin asks of an annotation beside what every one has. */
interface Mark extends AnnotationQuery<DataQuery & { expr: string }> {
  expr: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime: boolean;
}

type Drawn<Type extends string, Options, Drawing> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Options;
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
    defaults: Omit<FieldConfig, 'custom'> & { custom: Partial<Drawing> };
  };
  targets: Target[];
};

type AnyPanel =
  | Drawn<'timeseries', Lines, LinesDrawing>
  | Drawn<'stat', Numbers, Record<string, never>>
  | Drawn<'state-timeline', States, StatesDrawing>
  | Drawn<'bargauge', Ranking, Record<string, never>>
  | Drawn<'table', Table, TableFieldOptions>;

export type V1 = Json<
  Omit<Dashboard, 'panels' | 'annotations'> & {
    panels: Array<AnyPanel | (Omit<RowPanel, 'panels'> & { panels: AnyPanel[] })>;
    annotations: { list: Mark[] };
  }
>;

/** What is around `spec` is that of every object of the API; its types are not shipped. */
export type V2 = { apiVersion: 'dashboard.grafana.app/v2'; kind: 'Dashboard'; metadata: { name: string }; spec: Spec };
