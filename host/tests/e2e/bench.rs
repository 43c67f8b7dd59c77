//! `weir bench`, for a moment: a hub and the bare server are started, measured and removed.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_moment_of_load_is_measured_and_leaves_nothing() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["bench", "--rounds", "1", "--time", "300ms", "--connections", "4", "--json"])
        .arg("--folder")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("round 1 of 1"), "{said}");
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let (hub, floor) = (&report["hub"][0], &report["floor"][0]);
    assert!(hub["accepted"].as_u64() > Some(0) && floor["accepted"].as_u64() > Some(0), "{report}");
    for figure in ["handled_per_second", "ack_p99_ms", "end_to_end_p99_ms", "cpu_us_per_event"] {
        assert!(hub[figure].is_number(), "{figure}: {report}");
    }
    let has_ratio = report["rate_to_floor"]["median"].is_number();
    assert_ne!(has_ratio, report["no_ratio"].is_string(), "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{report}");
}
