//! Counts a customer's failed Stripe payments, and raises an alert at the third in a row.
//!
//! A failed invoice has two events, `invoice.payment_failed` and `payment_intent.payment_failed`.
//! Each failed payment has the second one. This handler subscribes to that one only, so that no
//! failure counts twice.

wit_bindgen::generate!({ world: "handler", path: "../../../wit" });

use serde_json::{Value, json};
use weir::handler::{config, log, manifest, outbox, request, state};

/// The count of failures is dropped after this time without another one.
const DAYS: u32 = 30;

struct Payments;

impl Guest for Payments {
    fn describe() {
        manifest::about("Raises an alert when a customer's payments keep failing.");
        manifest::subscribe("stripe:payment_intent.payment_failed");
        manifest::subscribe("stripe:payment_intent.succeeded");
    }

    fn handle(event: Event) -> Result<(), Failure> {
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));

        let body: Value = serde_json::from_str(&request::text()?)
            .map_err(|error| Failure::Reject(format!("the body is not JSON: {error}")))?;
        let payment = &body["data"]["object"];
        let Some(customer) = payment["customer"].as_str() else {
            log::info("a payment without a customer");
            return Ok(());
        };

        let failures = format!("failures/{customer}");
        if event.type_ == "payment_intent.succeeded" {
            state::remove(&failures);
            return Ok(());
        }
        let count = state::add(&failures, 1)?;
        state::expire(&failures, DAYS * 24 * 60 * 60);
        log::info(&format!("failed payment {count} of {customer}"));

        // Equal, not above: one alert for each series of failures.
        if count == threshold()? {
            alert(customer, count, payment)?;
        }
        Ok(())
    }
}

/// The number of failures that raises the alert.
fn threshold() -> Result<i64, Failure> {
    let Some(text) = config::get("failures") else { return Ok(3) };
    // The operator can fix this, so the event is retried.
    text.parse().map_err(|_| Failure::Retry(format!("[config] failures: {text:?} is no number")))
}

fn alert(customer: &str, count: i64, payment: &Value) -> Result<(), Failure> {
    let reason = payment["last_payment_error"]["message"].as_str().unwrap_or("no reason given");
    let alert = json!({
        "text": format!("{count} failed payments of {customer}: {reason}"),
        "customer": customer,
        "failures": count,
        "payment": payment["id"],
    });
    let destination = config::get("destination").unwrap_or("inbox".into());
    outbox::send_json(&destination, &alert.to_string())?;
    Ok(())
}

export!(Payments);
