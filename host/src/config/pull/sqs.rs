//! The `sqs` kind of source: a queue of AWS, or of a server with the same interface.

use std::time::Duration;

use super::PullContext;
use crate::config::SqsSettings;
use crate::config::context::LoadContext;
use crate::config::destination::aws;
use crate::config::tree::Section;

/// The longest visibility timeout, as the document of ReceiveMessage says.
const CLAIM_AFTER_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// A queue, and the time for which a message is hidden from other readers.
#[derive(Debug, Clone)]
pub struct SqsPull {
    pub queue: SqsSettings,
    /// Messages that were not acknowledged for this long come again: the visibility timeout.
    pub claim_after: Duration,
}

pub(super) fn read(
    section: &mut Section<'_>,
    PullContext { defaults, trust }: PullContext<'_>,
    context: &LoadContext<'_>,
) -> Option<SqsPull> {
    let queue = aws::read_sqs(section, defaults, trust, context);
    let claim_after = super::claim_after(section)?;
    if claim_after > CLAIM_AFTER_MAX || claim_after.subsec_nanos() != 0 {
        section.problem("claim_after", "must be whole seconds, and at most 12h");
        return None;
    }
    Some(SqsPull { queue: queue?, claim_after })
}
