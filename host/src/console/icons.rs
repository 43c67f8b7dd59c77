//! The icons of the navigation, drawn by us, as paths of 16 by 16.

use maud::{Markup, html};

/// An icon of the navigation or the bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Icon {
    Overview,
    Events,
    DeadLetters,
    Quarantine,
    Sources,
    Handlers,
    Destinations,
    Routes,
    Jobs,
    Inbox,
    Settings,
    Audit,
    Find,
    Theme,
    More,
}

impl Icon {
    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "M2.5 13.5v-4M6.2 13.5v-8M9.8 13.5v-6M13.5 13.5v-11",
            Self::Events => "M2.5 4h11M2.5 8h11M2.5 12h7",
            Self::DeadLetters => "M3 13V6.5a5 5 0 0 1 10 0V13zM6 6.5h4M8 5v5M1.5 13.5h13",
            Self::Quarantine => "M8 2l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V4zM8 6v2.5M8 10.8v.1",
            Self::Sources => "M2 8h8M7 5l3 3-3 3M10 2.5h3.5v11H10",
            Self::Handlers => "M8 1.8l5.4 3.1v6.2L8 14.2l-5.4-3.1V4.9zM8 8v6M8 8L2.8 5M8 8l5.2-3",
            Self::Destinations => "M6 8h8M11 5l3 3-3 3M6 2.5H2.5v11H6",
            Self::Routes => {
                "M2 8h4c3 0 3-4.5 8-4.5M6 8c3 0 3 4.5 8 4.5M12 1.5l2 2-2 2M12 10.5l2 2-2 2"
            }
            Self::Jobs => "M8 2a6 6 0 1 0 6 6M8 4.8V8l2.4 1.5M11 2.5l3 .3-.3 3",
            Self::Inbox => "M2 9l2-6h8l2 6v4H2zM2 9h3.5l1 2h3l1-2H14",
            Self::Settings => "M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6M10 2.8v3.4M6 9.8v3.4",
            Self::Audit => "M3.5 2h6l3 3v9h-9zM5.8 8.5l1.5 1.5 3-3.2",
            Self::Find => "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.8 10.8L14 14",
            Self::Theme => "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
            Self::More => "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
        }
    }

    /// The picture, which screen readers skip: a word always stands beside it.
    pub(crate) fn picture(self) -> Markup {
        html! { svg.i viewBox="0 0 16 16" aria-hidden="true" { path d=(self.path()) {} } }
    }
}

/// The mark of Weir: water that goes three ways.
pub(crate) fn brand() -> Markup {
    html! {
        svg viewBox="0 0 20 20" aria-hidden="true" {
            path d="M1.5 5.5h6c4.5 0 2.5 8 7 8h4M1.5 9.5h4.2M11 17.5h7.5M8.5 11v6.5" {}
        }
    }
}
