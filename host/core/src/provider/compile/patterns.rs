//! Compiles the patterns that schemes and handshakes share: shapes, hosts and paths.

use std::collections::BTreeMap;

use crate::provider::problems::ProblemCollector;
use crate::selector::{Selector, Shape};
use crate::verify::{HostPattern, PathPattern};

pub(super) fn shapes(
    check: &mut ProblemCollector,
    path: &str,
    table: &BTreeMap<String, String>,
) -> Vec<(Selector, Shape)> {
    let path = format!("{path}.shapes");
    let shape = |(from, text): (&String, &String)| {
        let source = check.ok(&path, Selector::parse(from));
        let shape = Shape::parse(text);
        check.require(shape.is_some(), &path, format_args!("{text:?} is not a shape"));
        source.zip(shape)
    };
    table.iter().filter_map(shape).collect()
}

pub(super) fn hosts(
    check: &mut ProblemCollector,
    path: &str,
    texts: &[String],
) -> Vec<HostPattern> {
    let host = |text: &String| {
        let pattern = HostPattern::parse(text);
        let message = format_args!(
            "{text:?} is not a host name with at most one *, {{region}} or {{region:cn}}"
        );
        check.require(pattern.is_some(), format_args!("{path}.hosts"), message);
        pattern
    };
    texts.iter().filter_map(host).collect()
}

pub(super) fn path_pattern(
    check: &mut ProblemCollector,
    path: &str,
    text: Option<&str>,
) -> Option<PathPattern> {
    let text = text?;
    let pattern = PathPattern::parse(text);
    let message =
        format_args!("{text:?} is not a path with at most one {{hex:1-64}} or {{word:1-64}}");
    check.require(pattern.is_some(), format_args!("{path}.path"), message);
    pattern
}
