//! Reads a body within the source's limit, a deadline and the budget. A body that arrives in one
//! piece is not copied.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;

use super::budget::{BodyBudget, BudgetShare};
use crate::ingress::answer::refused::Refused;

/// The limits of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    /// From the head to the last byte.
    pub(crate) time: Duration,
    /// The least bytes a second, after the grace period.
    pub(crate) pace: usize,
    /// The time before the pace counts.
    pub(crate) grace: Duration,
}

impl BodyLimits {
    /// The time from the head at which the next byte is due, after `received` bytes. A slow sender
    /// is refused long before one with a large body.
    fn due(&self, received: usize) -> Duration {
        let paced = Duration::from_secs_f64(received as f64 / self.pace.max(1) as f64);
        self.grace.saturating_add(paced).min(self.time)
    }
}

/// Bytes of an unread body that are read to see if all of it is here.
const HERE_BYTES_MAX: usize = 64 * 1024;

/// True if the rest of a body is here already, so that its connection can be used again. Does not
/// wait.
pub(crate) fn is_here(body: &mut (impl Body<Data = Bytes> + Unpin)) -> bool {
    let mut left = HERE_BYTES_MAX;
    while !body.is_end_stream() {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(less) = left.checked_sub(length) else { return false };
                left = less;
            }
            Some(None) => return true,
            Some(Some(Err(_))) | None => return false,
        }
    }
    true
}

/// Reads the whole body, whose bytes count to the budget until the share is dropped. Calls
/// `on_wait` once, if not all of the body is here.
pub(crate) async fn read<B>(
    body: B,
    limits: BodyLimits,
    budget: &BodyBudget,
    on_wait: impl Fn(Instant),
) -> Result<(Bytes, BudgetShare), Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().lower();
    if announced > limits.bytes as u64 {
        return Err(Refused::TooLarge { limit: limits.bytes });
    }
    let mut share = budget.share();
    let mut body = body;
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    let mut length = 0;
    // Most bodies arrive together with their head and need neither a timer nor the time.
    let mut started = None;
    while !body.is_end_stream() {
        let mut frame = pin!(body.frame());
        let frame = match frame.as_mut().now_or_never() {
            Some(frame) => frame,
            None => {
                let started = *started.get_or_insert_with(|| {
                    let now = Instant::now();
                    on_wait(now);
                    now
                });
                let due = started + limits.due(length);
                tokio::time::timeout_at(due, frame).await.map_err(|_| Refused::Timeout)?
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Refused::BodyIncomplete)?.into_data() else { continue };
        length += data.len();
        if length > limits.bytes {
            return Err(Refused::TooLarge { limit: limits.bytes });
        }
        share.grow(data.len()).map_err(|_| Refused::Overloaded)?;
        if whole.is_empty() && joined.is_empty() {
            whole = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&data);
        }
    }
    let body = if joined.is_empty() { whole } else { joined.freeze() };
    Ok((body, share))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use crate::observe::metrics::Metrics;

    const LIMITS: BodyLimits = BodyLimits {
        bytes: 10,
        time: Duration::from_secs(30),
        pace: 1_000,
        grace: Duration::from_secs(5),
    };

    fn budget(bytes: usize) -> BodyBudget {
        BodyBudget::new(bytes, Metrics::new().body_bytes().clone())
    }

    async fn read_all<B>(
        body: B,
        limits: BodyLimits,
        budget: &BodyBudget,
    ) -> Result<(Bytes, BudgetShare), Refused>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        read(body, limits, budget, |_| {}).await
    }

    fn pieces(
        texts: &'static [&'static str],
    ) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let frames = texts.iter().map(|t| Ok(Frame::data(Bytes::from_static(t.as_bytes()))));
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let sent = Bytes::from_static(b"0123456789");
        let (read, _share) = read_all(Full::new(sent.clone()), LIMITS, &budget(10)).await.unwrap();
        assert_eq!(read.as_ptr(), sent.as_ptr());
    }

    #[tokio::test]
    async fn pieces_are_joined_in_order() {
        let (read, _share) =
            read_all(pieces(&["ab", "", "cd", "e"]), LIMITS, &budget(10)).await.unwrap();
        assert_eq!(&read[..], b"abcde");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_by_announced_or_counted_length() {
        let announced =
            read_all(Full::new(Bytes::from_static(b"01234567890")), LIMITS, &budget(100)).await;
        assert!(matches!(announced, Err(Refused::TooLarge { limit: 10 })));
        let budget = budget(10);
        let counted = read_all(pieces(&["01234567", "890"]), LIMITS, &budget).await;
        assert!(matches!(counted, Err(Refused::TooLarge { limit: 10 })));
        assert!(
            read_all(pieces(&["0123456789"]), LIMITS, &budget).await.is_ok(),
            "the refused bodies gave their bytes back"
        );
    }

    #[test]
    fn is_here_tells_whether_an_unread_body_is_complete() {
        assert!(is_here(&mut pieces(&["ab", "c"])));
        let half = stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x")))]);
        let half = futures_util::StreamExt::chain(half, stream::pending());
        assert!(!is_here(&mut StreamBody::new(half)));
        assert!(!is_here(&mut Full::new(Bytes::from(vec![0; HERE_BYTES_MAX + 1]))));
    }

    #[tokio::test]
    async fn a_spent_budget_refuses_until_a_share_is_dropped() {
        let budget = budget(10);
        let first = read_all(pieces(&["012345"]), LIMITS, &budget).await.unwrap();
        assert!(matches!(
            read_all(pieces(&["01234"]), LIMITS, &budget).await,
            Err(Refused::Overloaded)
        ));
        drop(first);
        assert!(read_all(pieces(&["01234"]), LIMITS, &budget).await.is_ok());
    }

    #[test]
    fn the_next_byte_is_due_by_the_pace_and_the_last_by_the_deadline() {
        assert_eq!(LIMITS.due(0), LIMITS.grace);
        assert_eq!(LIMITS.due(10_000), LIMITS.grace + Duration::from_secs(10));
        assert_eq!(LIMITS.due(25_000_000), LIMITS.time);
        let short = BodyLimits { time: Duration::from_secs(1), ..LIMITS };
        assert_eq!(short.due(0), short.time);
    }

    #[tokio::test]
    async fn a_slow_body_is_refused_long_before_its_deadline() {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let limits = BodyLimits {
            bytes: 1_000_000,
            grace: Duration::from_millis(20),
            pace: 1_000_000,
            ..LIMITS
        };
        let started = Instant::now();
        let read = read_all(StreamBody::new(Box::pin(drops)), limits, &budget(1_000_000)).await;
        assert!(matches!(read, Err(Refused::Timeout)));
        assert!(started.elapsed() < limits.time / 2, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_refused_at_its_deadline() {
        let endless = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        let soon = BodyLimits { time: Duration::from_millis(5), ..LIMITS };
        let read = read_all(StreamBody::new(endless), soon, &budget(10)).await;
        assert!(matches!(read, Err(Refused::Timeout)));
    }
}
