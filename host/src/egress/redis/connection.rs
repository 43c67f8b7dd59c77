//! Opens a connection to a Redis server: through the guard, with TLS and credentials if they are
//! configured, on a database.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::time::timeout;

use crate::egress::server::{ConnectionTasks, ServerLink};
use crate::egress::transport::SendOutcome;

/// Opens a connection. Commands on it have no limit of their own. `refused` says what an error of
/// the server means.
pub(crate) async fn open(
    link: &ServerLink,
    database: u16,
    tasks: &ConnectionTasks,
    refused: impl Fn(&RedisError) -> SendOutcome,
) -> Result<MultiplexedConnection, SendOutcome> {
    let stream = link.connect().await.map_err(|error| link.unreached(&error))?;
    let server = link.server();
    let mut info = RedisConnectionInfo::default().set_db(i64::from(database));
    if let Some(user) = &server.user {
        info = info.set_username(user);
    }
    if let Some(password) = &server.password {
        info = info.set_password(String::from_utf8_lossy(password.expose()));
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let opening = MultiplexedConnection::new_with_config(&info, stream, config);
    match timeout(server.timeout, opening).await {
        Err(_) => Err(link.silent()),
        Ok(Err(error)) => Err(refused(&error)),
        Ok(Ok((connection, driving))) => {
            tasks.spawn("redis connection", driving);
            Ok(connection)
        }
    }
}
