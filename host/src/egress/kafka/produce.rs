//! Sends a batch of messages: each to the leader of its partition, and each with an outcome of its
//! own.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::answers::{self, Meaning};
use super::cluster::{Cluster, Layout};
use super::connection::AskError;
use super::partition::partition_of;
use super::records::{Record, batch};
use super::requests::{PRODUCE, TopicBatches, produce, produced};
use crate::egress::transport::{SendOutcome, Subject};

/// A message with its topic.
#[derive(Debug)]
pub(super) struct TopicRecord {
    pub(super) topic: String,
    /// Chooses the partition of a message without a key.
    pub(super) spread_by: String,
    pub(super) record: Record,
}

/// The end of one message in one round.
#[derive(Clone)]
enum Fate {
    Ended(SendOutcome),
    /// The leader that is known is not the leader any more, or cannot be reached.
    Moved(SendOutcome),
}

/// The outcomes of the messages of a batch. A server takes or refuses the messages of a partition
/// together: those that were refused because of one message are sent again, each alone.
pub(super) async fn each(cluster: &Cluster, records: &[TopicRecord]) -> Vec<SendOutcome> {
    let all: Vec<&TopicRecord> = records.iter().collect();
    let mut outcomes = attempt(cluster, &all).await;
    if records.len() > 1 {
        for (outcome, record) in outcomes.iter_mut().zip(records) {
            if matches!(outcome, SendOutcome::Refused { about: Subject::Message, .. })
                && let Some(own) = attempt(cluster, &[record]).await.pop()
            {
                *outcome = own;
            }
        }
    }
    outcomes
}

/// Sends messages. Those whose partition has moved are sent a second time, to its new leader.
async fn attempt(cluster: &Cluster, records: &[&TopicRecord]) -> Vec<SendOutcome> {
    let mut outcomes: Vec<Option<SendOutcome>> = vec![None; records.len()];
    for round in 1..=2 {
        let open: Vec<usize> = (0..records.len()).filter(|n| outcomes[*n].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let asked: Vec<&TopicRecord> = open.iter().map(|n| records[*n]).collect();
        let fates = match try_once(cluster, &asked).await {
            Ok(fates) => fates,
            Err(outcome) => asked.iter().map(|_| Fate::Ended(outcome.clone())).collect(),
        };
        let has_moved = fates.iter().any(|fate| matches!(fate, Fate::Moved(_)));
        if has_moved {
            cluster.forget().await;
        }
        for (n, fate) in open.into_iter().zip(fates) {
            match fate {
                Fate::Ended(outcome) => outcomes[n] = Some(outcome),
                Fate::Moved(outcome) if round == 2 => outcomes[n] = Some(outcome),
                Fate::Moved(_) => {}
            }
        }
    }
    let not_sent = || cluster.link().unavailable("the message was not sent");
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(not_sent)).collect()
}

/// The messages of one leader: places in the batch, by topic and partition.
type OfLeader<'r> = BTreeMap<(&'r str, usize), Vec<usize>>;

async fn try_once(cluster: &Cluster, records: &[&TopicRecord]) -> Result<Vec<Fate>, SendOutcome> {
    let mut topics: Vec<String> = records.iter().map(|record| record.topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    let layout = cluster.layout(&topics).await?;
    let mut fates: Vec<Option<Fate>> = Vec::new();
    let mut by_leader: BTreeMap<i32, OfLeader<'_>> = BTreeMap::new();
    for (n, record) in records.iter().enumerate() {
        match place(cluster, &layout, record) {
            Ok((leader, partition)) => {
                let of_leader = by_leader.entry(leader).or_default();
                of_leader.entry((&record.topic, partition)).or_default().push(n);
                fates.push(None);
            }
            Err(fate) => fates.push(Some(fate)),
        }
    }
    let layout = &layout;
    let sends = by_leader.iter().map(|(leader, of_leader)| async move {
        (of_leader, send_to(cluster, layout, *leader, of_leader, records).await)
    });
    for (of_leader, sent) in join_all(sends).await {
        for (at, places) in of_leader {
            for n in places {
                fates[*n] = Some(match &sent {
                    Ok(codes) => fate_of(codes.get(at).copied(), cluster),
                    Err(fate) => fate.clone(),
                });
            }
        }
    }
    let silent = || Fate::Ended(not_mentioned(cluster));
    Ok(fates.into_iter().map(|fate| fate.unwrap_or_else(silent)).collect())
}

/// The leader and the partition of a message.
fn place(cluster: &Cluster, layout: &Layout, record: &TopicRecord) -> Result<(i32, usize), Fate> {
    if let Some(code) = layout.problem(&record.topic) {
        return Err(fate_of(Some(code), cluster));
    }
    let leaders = layout.leaders(&record.topic);
    let key = record.record.key.as_deref().unwrap_or(&record.spread_by);
    let partition = partition_of(key.as_bytes(), leaders.len());
    match leaders.get(partition) {
        Some(Some(leader)) => Ok((*leader, partition)),
        _ => Err(Fate::Moved(cluster.link().unavailable(format_args!(
            "partition {partition} of topic {} has no leader",
            record.topic
        )))),
    }
}

/// Sends the messages of one leader. `Err` says that it could not be reached, or did not answer.
async fn send_to<'r>(
    cluster: &Cluster,
    layout: &Layout,
    leader: i32,
    of_leader: &OfLeader<'r>,
    records: &[&TopicRecord],
) -> Result<BTreeMap<(&'r str, usize), i16>, Fate> {
    let mut topics = TopicBatches::new();
    for ((topic, partition), places) in of_leader {
        let records = places.iter().map(|n| &records[*n].record);
        topics.entry(topic).or_default().insert(*partition, batch(records));
    }
    let limit = cluster.link().server().timeout.as_millis();
    let request = produce(&topics, i32::try_from(limit).unwrap_or(i32::MAX));
    loop {
        let (mut connection, was_used) =
            cluster.connection(layout, leader).await.map_err(Fate::Moved)?;
        let answer = match connection.ask(PRODUCE, &request).await {
            Ok(answer) => answer,
            // The server may have closed it while it was not used.
            Err(AskError::Broken(_)) if was_used => continue,
            Err(AskError::Broken(outcome)) => return Err(Fate::Moved(outcome)),
            Err(AskError::Silent(outcome)) => return Err(Fate::Ended(outcome)),
        };
        let codes = produced(answer).map_err(|error| Fate::Ended(connection.foreign(error)))?;
        cluster.keep(leader, connection).await;
        let known = of_leader.keys().filter_map(|(topic, partition)| {
            let code = codes.get(&((*topic).to_owned(), *partition))?;
            Some(((*topic, *partition), *code))
        });
        return Ok(known.collect());
    }
}

fn fate_of(code: Option<i16>, cluster: &Cluster) -> Fate {
    match code {
        Some(0) => Fate::Ended(SendOutcome::Accepted { receipt: None }),
        Some(code) => match answers::meaning(code) {
            Meaning::Moved(_) => Fate::Moved(answers::outcome(code, cluster)),
            _ => Fate::Ended(answers::outcome(code, cluster)),
        },
        None => Fate::Ended(not_mentioned(cluster)),
    }
}

fn not_mentioned(cluster: &Cluster) -> SendOutcome {
    let address = cluster.link().server().address();
    let reason = format!("{address}: the answer does not say whether it took this message");
    SendOutcome::Refused { about: Subject::Failure, reason: reason.into() }
}
