//! The servers of a cluster: which of them leads which partition, and a connection to each that is
//! needed. All are asked for again when they turn out to be wrong, and from time to time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::KafkaConnection;
use super::login::log_in;
use super::requests::{METADATA, Metadata, NodeAddress, metadata, metadata_of};
use crate::config::{BrokerServer, KafkaSettings};
use crate::egress::server::ServerLink;
use crate::egress::transport::SendOutcome;
use crate::tls::roots::RootsError;

/// The layout is asked for again after this time, to see partitions that were added.
const LAYOUT_AGE_MAX: Duration = Duration::from_secs(300);

/// Topics that stay known while others are asked for: a name may have the type of the event in it.
const TOPICS_KEPT_MAX: usize = 500;

/// The host and the port of a server.
type HostPort = (String, u16);

/// The servers of one destination.
#[derive(Debug)]
pub(super) struct Cluster {
    settings: KafkaSettings,
    first: Vec<ServerLink>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    layout: Option<(Instant, Arc<Layout>)>,
    links: BTreeMap<HostPort, ServerLink>,
    /// Connections on which no request is on its way, by node.
    idle: BTreeMap<i32, KafkaConnection>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// The servers and the partitions of topics at one time.
#[derive(Debug, Default)]
pub(super) struct Layout {
    servers: BTreeMap<i32, NodeAddress>,
    topics: BTreeMap<String, (i16, Vec<Option<i32>>)>,
}

impl Layout {
    fn of(metadata: Metadata) -> Self {
        let servers = metadata.servers.into_iter().map(|server| (server.node, server));
        let topics = metadata.topics.into_iter();
        let topics = topics.map(|topic| (topic.name, (topic.error, topic.leaders)));
        Self { servers: servers.collect(), topics: topics.collect() }
    }

    /// The error code of a topic, if there is one.
    pub(super) fn problem(&self, topic: &str) -> Option<i16> {
        self.topics.get(topic).map(|(error, _)| *error).filter(|error| *error != 0)
    }

    /// The leader of each partition of a topic.
    pub(super) fn leaders(&self, topic: &str) -> &[Option<i32>] {
        self.topics.get(topic).map_or(&[], |(_, leaders)| leaders)
    }
}

impl Cluster {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Self, RootsError> {
        let first = settings.servers.iter().map(ServerLink::new).collect::<Result<_, _>>()?;
        Ok(Self { settings: settings.clone(), first, known: Mutex::default() })
    }

    /// The server that reasons name.
    pub(super) fn link(&self) -> &ServerLink {
        &self.first[0]
    }

    pub(super) fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// The layout with these topics, asked for if it is unknown or old.
    pub(super) async fn layout(&self, topics: &[String]) -> Result<Arc<Layout>, SendOutcome> {
        let mut wanted = topics.to_vec();
        {
            let known = self.known.lock().await;
            if let Some((at, layout)) = &known.layout {
                let has_all = topics.iter().all(|topic| layout.topics.contains_key(topic));
                if has_all && at.elapsed() < LAYOUT_AGE_MAX {
                    return Ok(layout.clone());
                }
                // Those of other messages stay known, if they are topics.
                let others = layout
                    .topics
                    .iter()
                    .filter(|(topic, (error, _))| *error == 0 && !topics.contains(topic));
                let room = TOPICS_KEPT_MAX.saturating_sub(topics.len());
                wanted.extend(others.take(room).map(|(topic, _)| topic.clone()));
            }
        }
        let layout = Arc::new(self.look_up(&wanted).await?);
        let mut known = self.known.lock().await;
        known.links.retain(|address, _| layout.servers.values().any(|at| at.address() == *address));
        known.layout = Some((Instant::now(), layout.clone()));
        Ok(layout)
    }

    /// Forgets the layout, because a server said that it is wrong. Connections that broke are not
    /// kept anyway, and the others still lead to their servers.
    pub(super) async fn forget(&self) {
        self.known.lock().await.layout = None;
    }

    /// Asks the first server that answers for these topics.
    pub(super) async fn look_up(&self, topics: &[String]) -> Result<Layout, SendOutcome> {
        let mut last = None;
        for link in &self.first {
            match self.asked(link, topics).await {
                Ok(layout) => return Ok(layout),
                Err(outcome) => last = Some(outcome),
            }
        }
        Err(last.unwrap_or_else(|| self.link().unavailable("no server is set")))
    }

    async fn asked(&self, link: &ServerLink, topics: &[String]) -> Result<Layout, SendOutcome> {
        let mut connection = self.connect(link).await?;
        let answer = connection.ask(METADATA, &metadata(topics)).await?;
        let metadata = metadata_of(answer).map_err(|error| connection.foreign(error))?;
        Ok(Layout::of(metadata))
    }

    /// A connection to a node, and true if it was used before.
    pub(super) async fn connection(
        &self,
        layout: &Layout,
        node: i32,
    ) -> Result<(KafkaConnection, bool), SendOutcome> {
        if let Some(idle) = self.known.lock().await.idle.remove(&node) {
            return Ok((idle, true));
        }
        let link = self.link_of(layout, node).await?;
        Ok((self.connect(&link).await?, false))
    }

    /// Keeps a connection whose last request was answered.
    pub(super) async fn keep(&self, node: i32, connection: KafkaConnection) {
        self.known.lock().await.idle.insert(node, connection);
    }

    /// The way to a node, at the address that the cluster says.
    async fn link_of(&self, layout: &Layout, node: i32) -> Result<ServerLink, SendOutcome> {
        let unknown =
            || self.link().unavailable(format_args!("no address is known of node {node}"));
        let address = layout.servers.get(&node).ok_or_else(unknown)?.address();
        let mut known = self.known.lock().await;
        if let Some(link) = known.links.get(&address) {
            return Ok(link.clone());
        }
        let (host, port) = &address;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let server =
            BrokerServer { host: host.into(), port: *port, ..self.link().server().clone() };
        let link = ServerLink::new(&server).map_err(|error| self.link().unavailable(error))?;
        known.links.insert(address, link.clone());
        Ok(link)
    }

    async fn connect(&self, link: &ServerLink) -> Result<KafkaConnection, SendOutcome> {
        let server = link.server();
        let login = server.user.as_ref().zip(server.password.as_ref());
        let mut connection = KafkaConnection::open(link, login.is_some()).await?;
        if let Some((user, password)) = login {
            log_in(&mut connection, self.settings.mechanism, user, password).await?;
        }
        Ok(connection)
    }
}
