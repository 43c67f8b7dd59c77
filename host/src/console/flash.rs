//! The result of an act, said once on the page that follows. It travels in the address as a word
//! of a closed list and a number, so that no address can put words on a page.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::amounts::counted;
use super::parts::address;

/// An act that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flash {
    Retried,
    Tried,
    Requeued,
    Replayed,
    Released,
    /// A request that left the quarantine.
    Accepted,
    Held,
    Cancelled,
    Saved,
}

impl Flash {
    const ALL: [Self; 9] = [
        Self::Retried,
        Self::Tried,
        Self::Requeued,
        Self::Replayed,
        Self::Released,
        Self::Accepted,
        Self::Held,
        Self::Cancelled,
        Self::Saved,
    ];

    /// The act of a word in an address.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.word() == word)
    }

    /// The address of the page that says it: `did` and `n` are parameters of that page.
    pub(crate) fn address(self, page: &str, count: u64) -> String {
        address(page, &[("did", self.word()), ("n", &count.to_string())])
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::Tried => "tried",
            Self::Requeued => "requeued",
            Self::Replayed => "replayed",
            Self::Released => "released",
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
            Self::Saved => "saved",
        }
    }

    fn sentence(self, count: u64) -> String {
        match self {
            Self::Retried => format!("{} due now.", counted(count, "delivery")),
            Self::Tried => {
                "One delivery is tried now; the others follow if it succeeds.".to_owned()
            }
            Self::Requeued => format!("Requeued {}.", counted(count, "delivery")),
            Self::Replayed => format!("Replayed: {} due now.", counted(count, "delivery")),
            Self::Released => "The hold is released.".to_owned(),
            Self::Accepted => format!("{} verified and accepted.", counted(count, "request")),
            Self::Held => "A hold is placed. What it covers waits until it is released.".to_owned(),
            Self::Cancelled => format!("Cancelled {}.", counted(count, "delivery")),
            Self::Saved => "Saved.".to_owned(),
        }
    }
}

/// A line that says what was done; nothing on a page that follows no act.
pub(crate) fn flash(did: Option<Flash>, count: u64) -> Markup {
    html! {
        @if let Some(did) = did { p.note.done role="status" { (did.sentence(count)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_word_of_the_list_and_a_number() {
        let page = Flash::Requeued.address("/events/evt_1", 3);
        assert_eq!(page, "/events/evt_1?did=requeued&n=3");
        let said = flash(serde_json::from_str("\"requeued\"").ok(), 3).into_string();
        assert_eq!(said, r#"<p class="note done" role="status">Requeued 3 deliveries.</p>"#);
        assert!(serde_json::from_str::<Flash>("\"<b>\"").is_err());
    }
}
