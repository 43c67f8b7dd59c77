//! `weir why`: who got an event and who did not, by the rules that held when it was routed.

use serde_json::Value;

use super::client::{Hub, HubArgs, id};
use super::error::CommandError;
use super::events::text;
use super::output::Output;

/// Say who got an event and who did not, by the rules that held then, and what keeps it waiting.
#[derive(Debug, Clone, clap::Args)]
pub struct WhyArgs {
    /// Its id, evt_…
    pub id: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &WhyArgs, output: Output) -> Result<(), CommandError> {
    let path = format!("/api/v1/events/{}/why", id(&args.id)?);
    let why = Hub::find(&args.hub)?.get(&path, &[]).await?;
    if output.json {
        output.value(&why);
    } else {
        output.text(&show(&why));
    }
    Ok(())
}

fn show(why: &Value) -> String {
    let category = match &why["category"] {
        Value::Null => String::new(),
        category => format!(", category {}", text(category)),
    };
    let mut lines = vec![
        format!(
            "{}  {}:{}{category}",
            text(&why["event"]),
            text(&why["source"]),
            text(&why["type"])
        ),
        format!("status     {}", text(&why["status"])),
        format!("table      {}", text(&why["table"])),
    ];
    match why["considered"].as_array() {
        None => lines.push("the routing table that held then is no longer kept".into()),
        Some(all) if all.is_empty() => lines.push("nobody subscribed to anything then".into()),
        Some(all) => lines.extend(all.iter().map(considered)),
    }
    for delivery in why["deliveries"].as_array().into_iter().flatten() {
        let (id, target) = (text(&delivery["id"]), text(&delivery["target"]));
        lines.push(format!("{id} -> {target}  {}", text(&delivery["state"])));
        for held in delivery["holds"].as_array().into_iter().flatten() {
            let (scope, reason) = (text(&held["scope"]), text(&held["reason"]));
            lines.push(format!("  held by {} on {scope}: {reason}", text(&held["id"])));
        }
    }
    lines.join("\n")
}

fn considered(one: &Value) -> String {
    let target = text(&one["target"]);
    match one["matched"].as_str() {
        Some(pattern) => format!("  yes  {target}  matched {pattern}"),
        None => {
            let refused: Vec<_> =
                one["refused"].as_array().into_iter().flatten().map(text).collect();
            format!("  no   {target}  none of {}", refused.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_reads_as_a_list_of_yes_and_no() {
        let why = json!({
            "event": "evt_1", "source": "github", "type": "push", "category": "created",
            "status": "held", "table": "ab12",
            "considered": [
                { "target": "handler:chat", "matched": "github:*", "refused": ["stripe:*"] },
                { "target": "destination:ops", "matched": null, "refused": ["stripe:*", "a:b"] },
            ],
            "deliveries": [{
                "id": "dlv_1", "target": "handler:chat", "state": "pending",
                "holds": [{ "id": 3, "scope": "handler:chat", "reason": "a bad release" }],
            }],
        });
        assert_eq!(
            show(&why),
            "\
evt_1  github:push, category created
status     held
table      ab12
  yes  handler:chat  matched github:*
  no   destination:ops  none of stripe:*, a:b
dlv_1 -> handler:chat  pending
  held by 3 on handler:chat: a bad release"
        );
    }
}
