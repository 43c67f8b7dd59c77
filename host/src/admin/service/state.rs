//! The state of handlers as people read and change it. Runs that read an older value conflict, and
//! run again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Map;
use weir_core::bounds::{STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};
use weir_core::effect::StateWrite;
use weir_core::name::HandlerName;
use weir_core::state::{StateQuota, StateSize};
use weir_store::handler_state::{
    StateChange, StateChanged, StatePage, StateQuery, StoredStateValue,
};

use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::params::Cursor;
use crate::api::{
    ListPage, StateClearQuery, StateClearedAnswer, StateKeyQuery, StateListQuery, StateSizeView,
    StateValueView, StateWriteBody,
};

/// Keys that one step of a removal takes.
const CLEARED_AT_ONCE: usize = 1_000;
/// Most keys in one request.
const WRITES_MAX: usize = 1_000;

impl AdminService {
    /// The size of a handler's state.
    pub(super) async fn state_size(&self, name: &HandlerName) -> Result<StateSizeView, ApiError> {
        let page = self.page(name, "", "", 1).await?;
        Ok(size_view(page.size, self.quota(name)))
    }

    /// A page of a handler's state, by key.
    pub(crate) async fn state(
        &self,
        name: &str,
        query: StateListQuery,
    ) -> Result<ListPage<StateValueView>, ApiError> {
        let name = self.handler_with_state(name)?;
        let StateListQuery { prefix, limit, cursor } = query;
        let after = cursor.map(Cursor::into_inner).map(|cursor| decoded(&cursor)).transpose()?;
        let (prefix, after) = (prefix.unwrap_or_default(), after.unwrap_or_default());
        let page = self.page(&name, &prefix, &after, limit.unwrap_or_default().get()).await?;
        let last = page.values.last().filter(|_| page.more);
        let next = last.map(|value| URL_SAFE_NO_PAD.encode(&*value.key));
        let items = page.values.iter().map(value_view).collect();
        Ok(ListPage { items, next, previous: None, searched_to: None })
    }

    /// One value.
    pub(crate) async fn state_value(
        &self,
        name: &str,
        query: StateKeyQuery,
    ) -> Result<StateValueView, ApiError> {
        let name = self.handler_with_state(name)?;
        let key = query.key;
        let page = self.page(&name, &key, "", 1).await?;
        let found = page.values.iter().find(|value| *value.key == *key);
        found.map(value_view).ok_or_else(|| {
            ApiError::not_found("key_not_found", format!("{name} has no such key in its state"))
        })
    }

    /// Sets and removes keys, all or none.
    pub(crate) async fn write_state(
        &self,
        name: &str,
        body: StateWriteBody,
        by: Principal,
    ) -> Result<StateSizeView, ApiError> {
        let mut detail = Map::new();
        detail.insert("set".to_owned(), body.set.len().into());
        detail.insert("remove".to_owned(), body.remove.len().into());
        let result = self.do_write_state(name, body, &by).await;
        self.record(&by, "state_write", name, &result, detail).await;
        result
    }

    async fn do_write_state(
        &self,
        name: &str,
        body: StateWriteBody,
        by: &Principal,
    ) -> Result<StateSizeView, ApiError> {
        let name = self.handler_with_state(name)?;
        let (writes, quota) = (writes(body)?, self.quota(&name));
        let count = writes.len();
        let change = StateChange { handler: name.clone(), writes, quota };
        match self.store.change_state(change).await? {
            StateChanged::Written(size) => {
                tracing::info!(handler = %name, keys = count, %by, "state of a handler changed");
                Ok(size_view(size, quota))
            }
            StateChanged::Full(StateSize { bytes, keys }) => {
                let StateQuota { bytes: bytes_max, keys: keys_max } = quota;
                let detail = format!(
                    "the state would have {bytes} bytes in {keys} keys, and may have {bytes_max} \
                     bytes in {keys_max} keys; remove some, or raise `state` or `state_keys` \
                     under [limits]"
                );
                Err(ApiError::conflict("state_full", detail))
            }
        }
    }

    /// Removes all keys, or those with a prefix, step by step.
    pub(crate) async fn clear_state(
        &self,
        name: &str,
        query: StateClearQuery,
        by: Principal,
    ) -> Result<StateClearedAnswer, ApiError> {
        let result = self.do_clear_state(name, query, &by).await;
        self.recorded(&by, "state_clear", name, result).await
    }

    async fn do_clear_state(
        &self,
        name: &str,
        query: StateClearQuery,
        by: &Principal,
    ) -> Result<StateClearedAnswer, ApiError> {
        let name = self.handler_with_state(name)?;
        let prefix = query.prefix.unwrap_or_default();
        let mut removed = 0;
        loop {
            let some = self.store.clear_state(&name, &prefix, CLEARED_AT_ONCE).await?;
            removed += some as u64;
            if some < CLEARED_AT_ONCE {
                break;
            }
        }
        tracing::info!(handler = %name, keys = removed, %by, "state of a handler cleared");
        Ok(StateClearedAnswer { removed, state: self.state_size(&name).await? })
    }

    async fn page(
        &self,
        name: &HandlerName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<StatePage, ApiError> {
        let (prefix, after) = (prefix.into(), after.into());
        let query = StateQuery { handler: name.clone(), prefix, after, limit };
        Ok(self.store.state_page(query).await?)
    }

    /// A handler that is known.
    pub(super) fn handler_with_state(&self, name: &str) -> Result<HandlerName, ApiError> {
        let known = self.known_names().handlers;
        known.get(name).cloned().ok_or_else(|| {
            ApiError::not_found("handler_not_found", format!("there is no handler `{name}`"))
        })
    }

    /// The quota of the version in service, or the largest one.
    fn quota(&self, name: &HandlerName) -> StateQuota {
        let all = self.handlers.handlers();
        let limits = all.into_iter().find(|status| status.name == *name).and_then(|s| s.limits);
        limits.map_or(StateQuota::NONE, |limits| limits.state)
    }
}

/// The writes of a request, each key once.
fn writes(body: StateWriteBody) -> Result<Vec<StateWrite>, ApiError> {
    let invalid = |detail: String| Err(ApiError::bad_request("invalid_state", detail));
    if body.set.len() + body.remove.len() > WRITES_MAX {
        return invalid(format!("one request writes at most {WRITES_MAX} keys"));
    }
    let mut writes: BTreeMap<Box<str>, StateWrite> = BTreeMap::new();
    let set = body.set.into_iter().map(|set| (set.key, Some((set.value, set.expires_at))));
    let removed = body.remove.into_iter().map(|key| (key, None));
    for (key, set) in set.chain(removed) {
        if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
            return invalid(format!("a key has 1 to {STATE_KEY_BYTES_MAX} bytes"));
        }
        if set.as_ref().is_some_and(|(value, _)| value.len() > STATE_VALUE_BYTES_MAX) {
            return invalid(format!("a value has at most {STATE_VALUE_BYTES_MAX} bytes"));
        }
        let key: Box<str> = key.into();
        let (value, expires_at) =
            set.map_or((None, None), |(value, until)| (Some(value.into()), until));
        let write = StateWrite { key: key.clone(), value, expires_at };
        if writes.insert(key, write).is_some() {
            return invalid("a key is written twice".to_owned());
        }
    }
    Ok(writes.into_values().collect())
}

fn decoded(cursor: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        let detail = "`cursor`: write the `next` of the page before";
        ApiError::bad_request("invalid_parameter", detail)
    })
}

fn size_view(size: StateSize, quota: StateQuota) -> StateSizeView {
    let StateSize { bytes, keys } = size;
    StateSizeView { bytes, keys, bytes_max: quota.bytes, keys_max: quota.keys }
}

fn value_view(value: &StoredStateValue) -> StateValueView {
    StateValueView {
        key: value.key.to_string(),
        value: value.entry.value.to_string(),
        expires_at: value.entry.expires_at,
    }
}
