//! `weir cancel`: ends deliveries that are not finished.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::{CancelAnswer, CancelBody};
use crate::program::output::Output;

/// Cancel deliveries that are not finished; they stay stored as cancelled
///
/// A delivery that is being tried is cancelled too: the result of that attempt is refused, but what
/// it sent before cannot be called back. `weir replay` makes a cancelled delivery due again.
#[derive(Debug, Clone, clap::Args)]
pub struct CancelArgs {
    /// A delivery, a message, or an event with all its deliveries
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &CancelArgs, output: Output) -> Result<(), CommandError> {
    let body = CancelBody { id: args.id.clone() };
    let hub = AdminClient::find(&args.hub)?;
    let answer: CancelAnswer = hub.post_body("/api/v1/cancel", &body).await?;
    output.answer(&answer, summary);
    Ok(())
}

fn summary(answer: &CancelAnswer) -> String {
    let cancelled = match answer.cancelled.len() {
        1 => "cancelled 1 delivery".to_owned(),
        n => format!("cancelled {n} deliveries"),
    };
    match answer.running {
        0 => cancelled,
        n => format!("{cancelled}; {n} of them being tried, whose result is refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_deliveries() {
        let answer = |n: u128, running| {
            let cancelled = (0..n).map(weir_core::id::DeliveryId::from_bits).collect();
            CancelAnswer { cancelled, running }
        };
        assert_eq!(summary(&answer(1, 0)), "cancelled 1 delivery");
        let two = "cancelled 2 deliveries; 1 of them being tried, whose result is refused";
        assert_eq!(summary(&answer(2, 1)), two);
    }
}
