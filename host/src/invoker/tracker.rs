//! What to do about what lies in the watched folder. Pure: snapshots and the time go in, acts come out.
//!
//! A file is acted on once it has looked the same for long enough, whatever the file system reported in between, and once
//! more when it has for much longer: a file that is still being written may have looked whole to the first look, and not
//! every file system tells two changes apart that follow closely. A handler whose file is gone is given time to come back.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::name::HandlerName;

/// How many times as long as it takes to settle a file must not have changed for the second act.
const SURE: u32 = 20;

/// What changes when a file's content does, as far as can be told without reading it. A copy may keep length and time of
/// change (`cp -p`), and a mount may bring another file with the same inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PluginStamp {
    /// Bytes.
    pub(crate) length: u64,
    /// Nanoseconds since the epoch, as its writer says.
    pub(crate) modified: u128,
    /// The last change of anything about it, by the system's clock: seconds and nanoseconds.
    pub(crate) changed: (i64, i64),
    /// Where it lies.
    pub(crate) device: u64,
    /// Another file by the same name has another one.
    pub(crate) inode: u64,
}

/// The files of one handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandlerStamps {
    /// `NAME.wasm`.
    pub(crate) module: PluginStamp,
    /// `NAME.toml`, if there is one.
    pub(crate) sidecar: Option<PluginStamp>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FolderAction {
    /// Its files are new or have changed, and have settled.
    Load(HandlerName),
    /// They have not changed since for long: what is wrong with them now is no matter of time.
    LoadFinal(HandlerName),
    /// Its file is gone; there is time to put it back.
    MarkMissing(HandlerName),
    /// Its file has been gone for too long.
    Retire(HandlerName),
}

impl FolderAction {
    /// Whom it is about.
    pub(crate) fn handler(&self) -> &HandlerName {
        match self {
            Self::Load(name)
            | Self::LoadFinal(name)
            | Self::MarkMissing(name)
            | Self::Retire(name) => name,
        }
    }
}

/// What is known about the folder. Times are since any fixed moment.
#[derive(Debug)]
pub(crate) struct FolderTracker {
    settle: Duration,
    grace: Duration,
    handlers: BTreeMap<HandlerName, Tracked>,
}

#[derive(Debug, Clone, Copy)]
enum Tracked {
    /// Its files have looked like this since.
    There { stamps: HandlerStamps, since: Duration, acted: Acted },
    /// It served, and its file is gone.
    Gone { since: Option<Duration> },
}

/// What has been done about files that look as they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acted {
    Not,
    /// Once, and it is not known yet whether they are whole.
    InDoubt,
    Once,
    Surely,
}

impl FolderTracker {
    /// Nothing has been seen yet; `serving` are the handlers that served when the process ended.
    pub(crate) fn new(
        settle: Duration,
        grace: Duration,
        serving: impl IntoIterator<Item = HandlerName>,
    ) -> Self {
        let handlers = serving.into_iter().map(|n| (n, Tracked::Gone { since: None })).collect();
        Self { settle, grace, handlers }
    }

    /// Takes in what lies in the folder now.
    pub(crate) fn observe(
        &mut self,
        folder: &BTreeMap<HandlerName, HandlerStamps>,
        now: Duration,
    ) -> Vec<FolderAction> {
        let mut acts = Vec::new();
        for (name, stamps) in folder {
            let tracked = self.handlers.entry(name.clone()).or_insert(Tracked::There {
                stamps: *stamps,
                since: now,
                acted: Acted::Not,
            });
            match tracked {
                Tracked::There { stamps: seen, since, acted } if seen == stamps => match acted {
                    Acted::Not if now >= *since + self.settle => {
                        *acted = Acted::Once;
                        acts.push(FolderAction::Load(name.clone()));
                    }
                    Acted::InDoubt | Acted::Once if now >= *since + self.settle * SURE => {
                        *acted = Acted::Surely;
                        acts.push(FolderAction::LoadFinal(name.clone()));
                    }
                    _ => {}
                },
                changed => {
                    *changed = Tracked::There { stamps: *stamps, since: now, acted: Acted::Not };
                }
            }
        }
        let grace = self.grace;
        self.handlers.retain(|name, tracked| {
            if folder.contains_key(name) {
                return true;
            }
            match tracked {
                // It never served as far as is known here, but its files may have been acted on before they changed.
                Tracked::There { .. } | Tracked::Gone { since: None } => {
                    *tracked = Tracked::Gone { since: Some(now) };
                    acts.push(FolderAction::MarkMissing(name.clone()));
                    true
                }
                Tracked::Gone { since: Some(since) } if now >= *since + grace => {
                    acts.push(FolderAction::Retire(name.clone()));
                    false
                }
                Tracked::Gone { .. } => true,
            }
        });
        acts
    }

    /// An act could not be carried out for now: it will be asked for again.
    pub(crate) fn again(&mut self, act: &FolderAction, now: Duration) {
        match act {
            FolderAction::Load(name) | FolderAction::LoadFinal(name) => {
                if let Some(Tracked::There { since, acted, .. }) = self.handlers.get_mut(name) {
                    (*since, *acted) = (now, Acted::Not);
                }
            }
            FolderAction::MarkMissing(_) => {}
            FolderAction::Retire(name) => {
                let since = Some(now.saturating_sub(self.grace));
                self.handlers.entry(name.clone()).or_insert(Tracked::Gone { since });
            }
        }
    }

    /// Files were acted on that are not whole, or are wrong: which of it is known when they have not changed for long.
    pub(crate) fn in_doubt(&mut self, act: &FolderAction) {
        if let Some(Tracked::There { acted: acted @ Acted::Once, .. }) =
            self.handlers.get_mut(act.handler())
        {
            *acted = Acted::InDoubt;
        }
    }

    /// Whether any handler is known, in the folder or from before.
    pub(crate) fn knows_handlers(&self) -> bool {
        !self.handlers.is_empty()
    }

    /// How long until there may be something to do although nothing changes.
    pub(crate) fn next(&self, now: Duration) -> Option<Duration> {
        let due = self.handlers.values().filter_map(|tracked| match tracked {
            Tracked::There { since, acted: Acted::Not, .. } => Some(*since + self.settle),
            Tracked::There { since, acted: Acted::InDoubt | Acted::Once, .. } => {
                Some(*since + self.settle * SURE)
            }
            Tracked::Gone { since: Some(since) } => Some(*since + self.grace),
            _ => None,
        });
        due.min().map(|at| at.saturating_sub(now))
    }

    /// Whether every file seen has been acted on, and none is in doubt.
    pub(crate) fn is_quiet(&self) -> bool {
        let open = |tracked: &Tracked| {
            matches!(tracked, Tracked::There { acted: Acted::Not | Acted::InDoubt, .. })
        };
        !self.handlers.values().any(open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(150);
    const GRACE: Duration = Duration::from_secs(10);
    const STAMP: PluginStamp =
        PluginStamp { length: 0, modified: 0, changed: (0, 0), device: 1, inode: 1 };

    fn name(text: &str) -> HandlerName {
        HandlerName::new(text).unwrap()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn folder(files: &[(&str, u64)]) -> BTreeMap<HandlerName, HandlerStamps> {
        let stamps =
            |length| HandlerStamps { module: PluginStamp { length, ..STAMP }, sidecar: None };
        files.iter().map(|(n, length)| (name(n), stamps(*length))).collect()
    }

    fn tracker() -> FolderTracker {
        FolderTracker::new(SETTLE, GRACE, [])
    }

    fn load(text: &str) -> Vec<FolderAction> {
        vec![FolderAction::Load(name(text))]
    }

    #[test]
    fn a_new_file_is_loaded_once_when_it_has_settled() {
        let mut tracker = tracker();
        let there = folder(&[("a", 1)]);
        assert_eq!(tracker.observe(&there, ms(0)), []);
        assert_eq!(tracker.next(ms(0)), Some(SETTLE));
        assert_eq!(tracker.observe(&there, ms(149)), []);
        assert!(!tracker.is_quiet());
        assert_eq!(tracker.observe(&there, ms(150)), load("a"));
        assert!(tracker.is_quiet());
        assert_eq!(tracker.next(ms(150)), Some(ms(2_850)));
        assert_eq!(tracker.observe(&there, ms(2_999)), []);
        assert_eq!(tracker.observe(&there, ms(3_000)), [FolderAction::LoadFinal(name("a"))]);
        assert_eq!(tracker.observe(&there, ms(9_000)), []);
        assert_eq!(tracker.next(ms(9_000)), None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_certain_when_it_has_not_changed_for_long() {
        let mut tracker = tracker();
        // Written with pauses that are longer than it takes to settle.
        for n in 0..5 {
            tracker.observe(&folder(&[("a", n)]), ms(n * 400));
            let acts = tracker.observe(&folder(&[("a", n)]), ms(n * 400 + 150));
            assert_eq!(acts, load("a"));
            tracker.in_doubt(&acts[0]);
            assert!(!tracker.is_quiet());
        }
        assert_eq!(tracker.observe(&folder(&[("a", 4)]), ms(4_599)), []);
        assert_eq!(
            tracker.observe(&folder(&[("a", 4)]), ms(4_600)),
            [FolderAction::LoadFinal(name("a"))]
        );
        assert!(tracker.is_quiet());
    }

    #[test]
    fn a_file_that_keeps_growing_is_left_alone_until_it_stops() {
        let mut tracker = tracker();
        for n in 0..20 {
            assert_eq!(tracker.observe(&folder(&[("a", n)]), ms(n * 100)), []);
        }
        assert_eq!(tracker.observe(&folder(&[("a", 19)]), ms(2_100)), load("a"));
    }

    #[test]
    fn any_difference_is_a_change() {
        let mut tracker = tracker();
        let mut there = folder(&[("a", 1)]);
        tracker.observe(&there, ms(0));
        assert_eq!(tracker.observe(&there, ms(200)), load("a"));
        let changes: [fn(&mut HandlerStamps); 6] = [
            |s| s.module.modified = 5,
            |s| s.module.changed = (0, 1),
            |s| s.module.device = 2,
            |s| s.module.inode = 9,
            |s| s.sidecar = Some(s.module),
            |s| s.sidecar = None,
        ];
        let mut now = 1_000;
        for change in changes {
            change(there.get_mut(&name("a")).unwrap());
            assert_eq!(tracker.observe(&there, ms(now)), []);
            assert_eq!(tracker.observe(&there, ms(now + 150)), load("a"));
            now += 1_000;
        }
    }

    #[test]
    fn a_handler_whose_file_is_gone_retires_after_its_grace_and_not_before() {
        let mut tracker = tracker();
        tracker.observe(&folder(&[("a", 1)]), ms(0));
        tracker.observe(&folder(&[("a", 1)]), ms(200));
        assert_eq!(
            tracker.observe(&folder(&[]), ms(1_000)),
            [FolderAction::MarkMissing(name("a"))]
        );
        assert_eq!(tracker.observe(&folder(&[]), ms(10_999)), []);
        assert_eq!(tracker.next(ms(10_999)), Some(ms(1)));
        assert_eq!(tracker.observe(&folder(&[]), ms(11_000)), [FolderAction::Retire(name("a"))]);
        assert_eq!(tracker.observe(&folder(&[]), ms(99_000)), []);
    }

    #[test]
    fn a_file_that_comes_back_in_time_is_loaded_and_nothing_retires() {
        let mut tracker = tracker();
        tracker.observe(&folder(&[("a", 1)]), ms(0));
        tracker.observe(&folder(&[("a", 1)]), ms(200));
        tracker.observe(&folder(&[]), ms(1_000));
        assert_eq!(tracker.observe(&folder(&[("a", 1)]), ms(2_000)), []);
        assert_eq!(tracker.observe(&folder(&[("a", 1)]), ms(2_150)), load("a"));
        assert_eq!(
            tracker.observe(&folder(&[("a", 1)]), ms(30_000)),
            [FolderAction::LoadFinal(name("a"))]
        );
        assert_eq!(tracker.observe(&folder(&[("a", 1)]), ms(60_000)), []);
    }

    #[test]
    fn a_handler_that_served_before_the_restart_gets_its_grace_from_the_first_look() {
        let mut tracker = FolderTracker::new(SETTLE, GRACE, [name("a")]);
        assert_eq!(tracker.observe(&folder(&[]), ms(5)), [FolderAction::MarkMissing(name("a"))]);
        assert_eq!(tracker.observe(&folder(&[]), ms(10_005)), [FolderAction::Retire(name("a"))]);
    }

    #[test]
    fn what_could_not_be_done_is_asked_for_again() {
        let mut tracker = tracker();
        let there = folder(&[("a", 1)]);
        tracker.observe(&there, ms(0));
        let acts = tracker.observe(&there, ms(150));
        tracker.again(&acts[0], ms(150));
        assert_eq!(tracker.observe(&there, ms(300)), load("a"));
        tracker.observe(&folder(&[]), ms(1_000));
        let acts = tracker.observe(&folder(&[]), ms(20_000));
        tracker.again(&acts[0], ms(20_000));
        assert_eq!(tracker.observe(&folder(&[]), ms(20_001)), [FolderAction::Retire(name("a"))]);
    }

    proptest! {
        /// Whatever happens to a file, once it stays as it is for long enough the last act is the right one.
        #[test]
        fn the_end_of_any_history_is_acted_on(
            history in prop::collection::vec((prop::option::of(0u64..4), 0u64..20_000), 1..40),
        ) {
            let mut tracker = tracker();
            let (mut now, mut last, mut served) = (0, None, false);
            let end = history.last().unwrap().0;
            let quiet = [(end, 10_000), (end, 10_000), (end, 0)];
            for (file, pause) in history.into_iter().chain(quiet) {
                let there = file.map(|length| ("a", length));
                for act in tracker.observe(&folder(there.as_slice()), ms(now)) {
                    match act {
                        FolderAction::Load(_) | FolderAction::LoadFinal(_) => (served, last) = (true, file),
                        FolderAction::MarkMissing(_) => {}
                        FolderAction::Retire(_) => last = None,
                    }
                }
                now += pause;
            }
            prop_assert!(tracker.is_quiet());
            if served { prop_assert_eq!(last, end); }
        }
    }
}
