//! Charts as a whole: sizes, labels, and series that are empty or have one point.

use super::*;

fn counts(values: &[u64]) -> Vec<(&'static str, Tone, Vec<u64>)> {
    vec![("processed", Tone::Quiet, values.to_vec())]
}

fn drawn(series: Vec<(&str, Tone, Vec<u64>)>) -> String {
    let ticks = vec!["19:15".to_owned(), "20:15".to_owned()];
    bars(&Bars { title: "Events a minute", series, ticks, marks: vec![] }).into_string()
}

#[test]
fn bars_stand_on_each_other() {
    let series = vec![
        ("processed", Tone::Quiet, vec![30, 0]),
        ("failed", Tone::Bad, vec![10, 40]),
        ("paused", Tone::Hold, vec![0, 0]),
    ];
    let html = drawn(series);
    assert!(html.contains("<path class=\"a\" d=\"M1 28h8v84h-8z\">"), "{html}");
    assert!(html.contains("<path class=\"b\" d=\"M1 0h8v28h-8zM11 0h8v112h-8z\">"), "{html}");
    assert!(!html.contains("class=\"h\""), "{html}");
    let said = "Events a minute: 30 processed, 50 failed; the highest bar is 40, the last 40.";
    assert!(html.contains(said), "{html}");
}

#[test]
fn a_key_names_what_occurred() {
    let series = vec![("processed", Tone::Quiet, vec![1]), ("failed", Tone::Bad, vec![0])];
    let key = Bars { title: "Events", series, ticks: vec![], marks: vec![] }.key().into_string();
    assert_eq!(key, "<span class=\"key\"><span class=\"\">processed</span></span>");
    let line = Line { name: "p50", micros: vec![Some(2_400), None] };
    assert!(latency_key(&[line]).into_string().contains("<span class=\"ka\">p50 2.4 ms</span>"));
}

#[test]
fn a_count_that_is_not_zero_can_be_seen() {
    let html = drawn(vec![
        ("processed", Tone::Quiet, vec![1_000_000, 1_000_000]),
        ("failed", Tone::Bad, vec![0, 1]),
    ]);
    assert!(html.contains("h8v0.8h-8z\">"), "{html}");
}

#[test]
fn empty_and_single_series_are_drawn() {
    assert!(drawn(vec![]).contains("Events a minute: none."));
    assert!(drawn(counts(&[0, 0])).contains("Events a minute: none."));
    assert!(drawn(counts(&[7])).contains("viewBox=\"0 0 10 112\""));
    assert!(spark(&[], Tone::Quiet).into_string().contains("<svg"));
    assert!(spark(&[3], Tone::Bad).into_string().contains("d=\"M0 1h4\""));
    let none = latencies("Time to answer", &[], &[]).into_string();
    assert!(none.contains("Time to answer: nothing was measured."));
    let line = Line { name: "p50", micros: vec![None, Some(2_000), None] };
    let one = latencies("Time to answer", &[line], &[]).into_string();
    assert!(one.contains("p50 at most 2 ms, last 2 ms") && one.contains("h4"), "{one}");
}

#[test]
fn a_line_is_interrupted_where_nothing_was_measured() {
    let micros = vec![Some(1_000), Some(10_000), None, Some(1_000), Some(1_000)];
    let html = latencies("Answers", &[Line { name: "p99", micros }], &[]).into_string();
    assert!(html.contains("d=\"M0 112L150 0M450 112L600 112\""), "{html}");
    assert!(html.contains("<span>10 ms</span><span>1 ms</span>"), "{html}");
}

#[test]
fn charts_are_small_and_carry_no_style() {
    let many: Vec<u64> = (0..10_000).map(|at| at * 7_919 % 2_377).collect();
    let series = vec![
        ("processed", Tone::Quiet, many.clone()),
        ("paused", Tone::Hold, many.clone()),
        ("failed", Tone::Bad, many.clone()),
    ];
    let line = |name| Line { name, micros: many.iter().copied().map(Some).collect() };
    let lines = [line("p50"), line("p90"), line("p99")];
    let charts = [
        drawn(series),
        latencies("Answers", &lines, &[]).into_string(),
        spark(&many, Tone::Quiet).into_string(),
    ];
    for chart in charts {
        assert!(chart.len() < 6 * 1024, "{}: {chart:.80}", chart.len());
        assert!(!chart.contains("style="));
    }
}
