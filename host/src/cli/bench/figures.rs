//! The figures of a measurement: shares of sorted times, medians of rounds, and their text. Pure.

use std::fmt::Write as _;

use serde::Serialize;

/// The figures of one server in one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct RoundFigures {
    /// Accepted requests.
    pub(super) accepted: u64,
    pub(super) accepted_per_second: f64,
    /// Events that were handled until the queue was empty, in the time from the first request until
    /// then; none for the bare server and without a handler.
    pub(super) handled_per_second: Option<f64>,
    pub(super) ack_p50_ms: f64,
    pub(super) ack_p99_ms: f64,
    pub(super) ack_p999_ms: f64,
    /// Time from the receipt of an event to the end of its last attempt, of a sample.
    pub(super) end_to_end_p50_ms: Option<f64>,
    pub(super) end_to_end_p99_ms: Option<f64>,
    /// Processor time of the server for each accepted request, until it is handled.
    pub(super) cpu_us_per_event: Option<f64>,
    /// Memory of the process that is in use after the round.
    pub(super) memory_mib: Option<f64>,
    /// Bytes written to the disk for each byte of headers and bodies.
    pub(super) written_per_byte: Option<f64>,
}

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// All rounds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct BenchReport {
    pub(super) connections: usize,
    pub(super) seconds: f64,
    /// Processors of this machine.
    pub(super) processors: usize,
    /// The file system of the measured folder; none for a hub that runs elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_system: Option<String>,
    pub(super) hub: Vec<RoundFigures>,
    /// The bare server in the same rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) floor: Vec<RoundFigures>,
    /// The hub's rate of settled events by the bare server's rate of accepted requests, of each
    /// round. None where a comparison would say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_to_floor: Option<Spread>,
    /// The hub's processor time of an event by the bare server's of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_to_floor: Option<Spread>,
    /// The reason why there is no comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_ratio: Option<String>,
}

impl RoundFigures {
    /// The rate at which events were settled: handled, or stored if no handler wants them.
    pub(super) fn settled_per_second(&self) -> f64 {
        self.handled_per_second.unwrap_or(self.accepted_per_second)
    }
}

/// The value below which this share of sorted values lies.
pub(super) fn share_of(sorted: &[u32], thousandths: usize) -> f64 {
    let index = (sorted.len() * thousandths / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().map_or(0.0, f64::from)
}

impl Spread {
    /// None without values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Self { median, least, most })
    }
}

impl BenchReport {
    /// Compares the rounds of the hub with those of the bare server.
    pub(super) fn compare(&mut self) {
        if self.no_ratio.is_some() {
            return;
        }
        let rounds = || self.hub.iter().zip(&self.floor);
        let rate =
            rounds().map(|(hub, floor)| hub.settled_per_second() / floor.accepted_per_second);
        let cpu = rounds()
            .filter_map(|(hub, floor)| Some(hub.cpu_us_per_event? / floor.cpu_us_per_event?));
        let (rate, cpu) = (Spread::of(rate), Spread::of(cpu));
        (self.rate_to_floor, self.cpu_to_floor) = (rate, cpu);
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} connections, rounds of {:.1} s, {} processors{}\n\n",
            self.connections,
            self.seconds,
            self.processors,
            self.file_system.as_ref().map_or_else(String::new, |name| format!(", {name}")),
        );
        let mut columns = vec![("hub", &self.hub)];
        if !self.floor.is_empty() {
            columns.push(("bare server", &self.floor));
        }
        let heads = columns.iter().map(|(name, _)| format!("{name:>30}")).collect::<String>();
        let _ = writeln!(text, "{:<28}{heads}", "median (least to most)");
        for (name, digits, of) in ROWS {
            let cells = columns.iter().map(|(_, rounds)| {
                let spread = Spread::of(rounds.iter().filter_map(of));
                let cell = spread.map_or_else(|| "-".to_owned(), |spread| shown(&spread, digits));
                format!("{cell:>30}")
            });
            let _ = writeln!(text, "{name:<28}{}", cells.collect::<String>());
        }
        for (what, spread) in [
            ("settled events/s to the bare server's requests/s", &self.rate_to_floor),
            ("processor time of an event to that of its request", &self.cpu_to_floor),
        ] {
            if let Some(spread) = spread {
                let _ = write!(text, "\n{what}: {}", shown(spread, 2));
            }
        }
        if let Some(why) = &self.no_ratio {
            let _ = write!(text, "\nno comparison: {why}");
        }
        text
    }
}

fn shown(spread: &Spread, digits: usize) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

type Row = (&'static str, usize, fn(&RoundFigures) -> Option<f64>);

const ROWS: [Row; 10] = [
    ("accepted/s", 0, |round| Some(round.accepted_per_second)),
    ("handled/s", 0, |round| round.handled_per_second),
    ("ack p50 ms", 2, |round| Some(round.ack_p50_ms)),
    ("ack p99 ms", 2, |round| Some(round.ack_p99_ms)),
    ("ack p99.9 ms", 2, |round| Some(round.ack_p999_ms)),
    ("end to end p50 ms", 0, |round| round.end_to_end_p50_ms),
    ("end to end p99 ms", 0, |round| round.end_to_end_p99_ms),
    ("processor us an event", 1, |round| round.cpu_us_per_event),
    ("memory MiB", 0, |round| round.memory_mib),
    ("bytes written per byte", 2, |round| round.written_per_byte),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn round(accepted_per_second: f64, handled: Option<f64>, cpu: f64) -> RoundFigures {
        RoundFigures {
            accepted_per_second,
            handled_per_second: handled,
            cpu_us_per_event: Some(cpu),
            ..RoundFigures::default()
        }
    }

    fn report(hub: Vec<RoundFigures>, floor: Vec<RoundFigures>) -> BenchReport {
        BenchReport {
            connections: 64,
            seconds: 4.0,
            processors: 2,
            file_system: Some("ext4".into()),
            hub,
            floor,
            rate_to_floor: None,
            cpu_to_floor: None,
            no_ratio: None,
        }
    }

    #[test]
    fn shares_are_taken_of_sorted_values() {
        let sorted: Vec<u32> = (0..1_000).collect();
        assert_eq!([500, 990, 999].map(|share| share_of(&sorted, share)), [500.0, 990.0, 999.0]);
        assert_eq!((share_of(&[7], 999), share_of(&[], 500)), (7.0, 0.0));
    }

    #[test]
    fn a_median_lies_between_the_two_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, least: 1.0, most: 10.0 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn rounds_are_compared_one_by_one() {
        let hub = vec![round(30.0, Some(20.0), 60.0), round(50.0, Some(40.0), 80.0)];
        let mut report = report(hub, vec![round(40.0, None, 20.0), round(100.0, None, 20.0)]);
        report.compare();
        let rate = report.rate_to_floor.unwrap();
        assert_eq!((rate.least, rate.most), (0.4, 0.5));
        assert_eq!(report.cpu_to_floor.unwrap().median, 3.5);
        assert!(report.text().contains("settled events/s to the bare server's requests/s: 0.45"));
    }

    #[test]
    fn a_disk_in_memory_gives_no_ratio_and_says_why() {
        let mut report = report(vec![round(30.0, None, 60.0)], vec![round(40.0, None, 20.0)]);
        report.no_ratio = Some("the folder is in memory".into());
        report.compare();
        assert_eq!((report.rate_to_floor, report.cpu_to_floor), (None, None));
        let text = report.text();
        assert!(text.contains("no comparison: the folder is in memory"), "{text}");
    }
}
