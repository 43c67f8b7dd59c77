//! The dashboard and the alert rules in `examples/observe` name only metrics and labels that a
//! running hub has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use serde_json::Value;
use weir::observe::exposition;
use weir_testing::hub::TestHub;

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/observe");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Every text of these keys, at any depth.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => texts(value, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, keys, found)),
        _ => {}
    }
}

/// The expressions and label templates of the dashboard and of the rules.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    texts(&dashboard, &["expr", "query"], &mut found);
    let of_dashboard =
        found.iter().filter(|text| text.contains("weir_") || text.contains("process_"));
    let rules = file("weir.rules.yaml");
    let of_rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let all: Vec<String> =
        of_dashboard.map(ToString::to_string).chain(of_rules.map(str::to_owned)).collect();
    assert!(all.len() > 40, "{all:?}");
    all
}

/// The metric that a series belongs to.
fn metric_of(series: &str) -> &str {
    let known = |name: &str| exposition::ALL.iter().any(|metric| metric.name == name);
    let ends = ["_bucket", "_count", "_sum"];
    let base = ends.iter().find_map(|end| series.strip_suffix(end)).filter(|name| known(name));
    base.unwrap_or(series)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_rules_name_metrics_that_exist() {
    let hub = TestHub::new().github().start().await;
    let page: BTreeSet<String> = hub
        .metric_lines(&["# TYPE "])
        .await
        .iter()
        .filter_map(|line| line.split(' ').nth(2).map(str::to_owned))
        .collect();
    let series = Regex::new(r"\b(weir|process)_[a-z_]+\b").unwrap();
    let labels_of: BTreeMap<&str, &[&str]> =
        exposition::ALL.iter().map(|metric| (metric.name, metric.labels)).collect();
    // Labels in braces, and in `by (…)`.
    let matcher = Regex::new(r#"([a-z]+)(?:=~|!~|!=|=)""#).unwrap();
    let by = Regex::new(r"by \(([a-z, ]+)\)").unwrap();
    for expression in expressions() {
        let metrics: Vec<&str> =
            series.find_iter(&expression).map(|found| metric_of(found.as_str())).collect();
        assert!(!metrics.is_empty(), "{expression}");
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for metric in metrics {
            assert!(page.contains(metric), "{metric} is not in /metrics: {expression}");
            known.extend(labels_of[metric]);
        }
        let named = matcher.captures_iter(&expression).map(|found| found.get(1).unwrap().as_str());
        let grouped = by.captures_iter(&expression).flat_map(|found| {
            found.get(1).unwrap().as_str().split(',').map(str::trim).collect::<Vec<_>>()
        });
        for label in named.chain(grouped).filter(|label| *label != "le") {
            assert!(known.contains(label), "{label} is not a label: {expression}");
        }
    }
}

#[test]
fn legends_and_summaries_name_labels_that_exist() {
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json")).unwrap();
    let mut legends = Vec::new();
    texts(&dashboard, &["legendFormat"], &mut legends);
    let rules = file("weir.rules.yaml");
    let template = Regex::new(r"\{\{ ?(?:\$labels\.)?([a-z]+) ?\}\}").unwrap();
    let all: BTreeSet<&str> = exposition::ALL.iter().flat_map(|m| m.labels).copied().collect();
    let mut seen = 0;
    for text in legends.into_iter().chain(rules.lines()) {
        for label in template.captures_iter(text).map(|found| found.get(1).unwrap().as_str()) {
            assert!(all.contains(label), "{label} in {text}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// Each rule of the file has what an operator needs, in the form in which the file is written.
#[test]
fn each_alert_rule_says_what_to_do() {
    let rules = file("weir.rules.yaml");
    let rules: Vec<&str> = rules.split("      - alert: ").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        for key in ["expr: ", "severity: ", "summary: ", "description: "] {
            assert_eq!(rule.matches(key).count(), 1, "{key}in {rule}");
        }
    }
}
