//! The `process_*` numbers of every Prometheus client, read from `/proc`.

use std::fs;

/// The numbers of this process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Process {
    /// Seconds of processor time, user and system.
    pub cpu_seconds: f64,
    pub open_fds: u64,
    /// The limit on open files, if there is one.
    pub max_fds: Option<u64>,
    /// Bytes of virtual memory.
    pub virtual_memory_bytes: u64,
    /// Its limit, if there is one.
    pub virtual_memory_max_bytes: Option<u64>,
    /// Bytes of memory in use.
    pub resident_memory_bytes: u64,
    /// Start time, in seconds since 1970.
    pub start_time_seconds: f64,
    pub threads: u64,
}

impl Process {
    /// Reads the numbers. None without `/proc`.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").ok()?;
        // Reading the folder is an open file too.
        let open_fds =
            fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1));
        let ticks = rustix::param::clock_ticks_per_second();
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
        let process = of(&stat, &boot, (ticks, page))?;
        Some(Self {
            open_fds: u64::try_from(open_fds).unwrap_or(u64::MAX),
            max_fds: limit(&limits, "Max open files"),
            virtual_memory_max_bytes: limit(&limits, "Max address space"),
            ..process
        })
    }
}

/// The numbers in `/proc/self/stat`, with the boot time from `/proc/stat`.
fn of(stat: &str, boot: &str, (ticks, page): (u64, u64)) -> Option<Process> {
    // The name may contain blanks and brackets; after its last bracket there are only numbers.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `man 5 proc` counts from 1, and two fields stand before.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |in_ticks: u64| {
        let (whole, part) = (in_ticks / ticks.max(1), in_ticks % ticks.max(1));
        float(whole) + float(part) / float(ticks.max(1))
    };
    let booted = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Process {
        cpu_seconds: seconds(field(14)?.saturating_add(field(15)?)),
        threads: field(20)?,
        start_time_seconds: float(booted) + seconds(field(22)?),
        virtual_memory_bytes: field(23)?,
        resident_memory_bytes: field(24)?.saturating_mul(page),
        ..Process::default()
    })
}

/// A whole number as a float; past 2^32, in two parts that each fit.
fn float(number: u64) -> f64 {
    let part = |bits: u64| f64::from(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0));
    part(number >> 32) * 4_294_967_296.0 + part(number)
}

/// The soft limit of a line of `/proc/self/limits`.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_lines_are_parsed_for_any_process_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1000 \
                    104857600 2560 18446744073709551615 1 1 0";
        let process = of(stat, "cpu 1 2\nbtime 1700000000\n", (100, 4_096)).unwrap();
        assert_eq!((process.cpu_seconds, process.threads), (2.0, 7));
        assert_eq!(process.start_time_seconds, 1_700_000_010.0);
        assert_eq!(process.virtual_memory_bytes, 104_857_600);
        assert_eq!(process.resident_memory_bytes, 10_485_760);
        let limits = "Limit                     Soft Limit           Hard Limit           \
            Units     \n\
                      Max open files            1024                 524288               \
                      files     \n\
                      Max address space         unlimited            unlimited            \
                      bytes     \n";
        assert_eq!(limit(limits, "Max open files"), Some(1_024));
        assert_eq!(limit(limits, "Max address space"), None);
    }

    #[test]
    fn this_process_has_used_memory_and_files() {
        let process = Process::read().unwrap();
        assert!(process.resident_memory_bytes > 0 && process.open_fds > 2, "{process:?}");
        assert!(process.start_time_seconds > 1_600_000_000.0, "{process:?}");
    }
}
