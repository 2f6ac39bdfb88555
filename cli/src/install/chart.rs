//! What the chart says beside its templates is what the types say.

use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{VERSION, Values};

/// Set it to write the schema instead of comparing it.
const WRITE: &str = "WEFT_WRITE_SCHEMA";

fn chart(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/chart").join(file)
}

fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(chart(file)).unwrap()).unwrap()
}

#[test]
fn the_charts_values_are_the_defaults() {
    assert_eq!(yaml("values.yaml"), serde_json::to_value(Values::default()).unwrap());
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = yaml("Chart.yaml");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&VERSION.into(), &VERSION.into()));
}

#[test]
fn the_charts_schema_follows_from_the_types() {
    // The oldest version of Helm that is about reads this draft.
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Values>();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let file = chart("values.schema.json");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &text).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(kept, text, "{}: run `{WRITE}=1 cargo test -p weft --bin weft install`", file.display());
}
