//! The URLs that Twilio calls for a phone number.
//!
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>: a number has one
//! URL for messages, one for calls and one for the status of calls. Calls are forms, with the
//! account's SID and auth token as basic authentication. Twilio signs with the auth token.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use weir_core::verify::Secret;

use super::client::{ApiClient, ProviderApiError, part};
use super::{PAGES_MAX, RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};

/// The kinds of events, each with its field in answers, in calls, and that of its method.
const KINDS: [(&str, &str, &str, &str); 3] = [
    ("sms", "sms_url", "SmsUrl", "SmsMethod"),
    ("voice", "voice_url", "VoiceUrl", "VoiceMethod"),
    ("status", "status_callback", "StatusCallback", "StatusCallbackMethod"),
];

/// The API of one phone number.
#[derive(Debug)]
pub(crate) struct Twilio {
    api: ApiClient,
    /// The path of the numbers of the account.
    numbers: String,
    number: Option<String>,
}

impl Twilio {
    /// `number` is such as `+15551234567`. It is not needed to list.
    pub(crate) fn new(
        base: Option<&str>,
        account: &str,
        number: Option<&str>,
        token: &Secret,
    ) -> Result<Self, ProviderApiError> {
        let api = ApiClient::new("twilio", "https://api.twilio.com", base, message)?;
        let pair = [account.as_bytes(), b":", token.expose()].concat();
        let api = api.with_secret("authorization", "Basic ", STANDARD.encode(pair).as_bytes())?;
        let numbers = format!("/2010-04-01/Accounts/{}/IncomingPhoneNumbers", part(account));
        Ok(Self { api, numbers, number: number.map(str::to_owned) })
    }

    async fn numbers(&self) -> Result<Vec<Value>, ProviderApiError> {
        let wanted = self.number.as_deref().map(|number| format!("&PhoneNumber={}", part(number)));
        let wanted = wanted.unwrap_or_default();
        let (mut all, mut next) =
            (Vec::new(), Some(format!("{}.json?PageSize=100{wanted}", self.numbers)));
        for _ in 0..PAGES_MAX {
            let Some(path) = next else { break };
            let page = self.api.get(&path).await?.0;
            all.extend(self.api.list_in(&page["incoming_phone_numbers"])?.iter().cloned());
            next = page["next_page_uri"].as_str().map(str::to_owned);
        }
        Ok(all)
    }

    async fn sid(&self) -> Result<String, ProviderApiError> {
        let number = self.number.as_deref().ok_or_else(|| {
            ProviderApiError::Setup(
                "give the phone number with --number, such as +15551234567".into(),
            )
        })?;
        let found = self.numbers().await?;
        let found = found.iter().find(|one| one["phone_number"] == number).ok_or_else(|| {
            ProviderApiError::Setup(format!("the account has no phone number {number}; see --list"))
        })?;
        self.api.text(found, "sid")
    }

    async fn set(&self, sid: &str, fields: &[(&str, &str)]) -> Result<(), ProviderApiError> {
        self.api.form(&format!("{}/{}.json", self.numbers, part(sid)), fields).await?;
        Ok(())
    }

    async fn point(&self, sid: &str, wanted: &WantedWebhook) -> Result<(), ProviderApiError> {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.0).collect();
        if let Some(unknown) = wanted.events.iter().find(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            return Err(ProviderApiError::Setup(format!(
                "twilio has no events `{unknown}`, but {known}"
            )));
        }
        let is_wanted = |kind: &str| wanted.events.iter().any(|name| name == kind);
        let mut fields = Vec::new();
        for (kind, _, url, method) in KINDS {
            if is_wanted(kind) {
                fields.extend([(url, wanted.url.as_str()), (method, "POST")]);
            }
        }
        self.set(sid, &fields).await
    }
}

#[async_trait]
impl WebhookApi for Twilio {
    fn secret_origin(&self) -> SecretOrigin {
        SecretOrigin::Elsewhere("Twilio signs with the auth token of the account: copy it there")
    }

    fn usual_events(&self) -> Option<&'static [&'static str]> {
        Some(&["sms"])
    }

    /// The kinds of one number with the same URL are one webhook.
    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let mut all: Vec<RegisteredWebhook> = Vec::new();
        for number in self.numbers().await? {
            let id = self.api.text(&number, "sid")?;
            for (kind, field, _, _) in KINDS {
                let url = number[field].as_str().unwrap_or_default();
                if url.is_empty() {
                    continue;
                }
                match all.iter_mut().find(|one| one.id == id && one.url == url) {
                    Some(one) => one.events = sorted(one.events.drain(..).chain([kind.into()])),
                    None => all.push(RegisteredWebhook {
                        id: id.clone(),
                        url: url.to_owned(),
                        events: vec![kind.into()],
                        is_active: true,
                    }),
                }
            }
        }
        Ok(all)
    }

    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError> {
        let sid = self.sid().await?;
        self.point(&sid, wanted).await?;
        Ok((sid, None))
    }

    async fn update(
        &self,
        found: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError> {
        let gone = |kind: &str| {
            found.events.iter().any(|name| name == kind)
                && !wanted.events.iter().any(|name| name == kind)
        };
        let cleared: Vec<_> =
            KINDS.iter().filter(|kind| gone(kind.0)).map(|kind| (kind.2, "")).collect();
        if !cleared.is_empty() {
            self.set(&found.id, &cleared).await?;
        }
        self.point(&found.id, wanted).await
    }

    async fn delete(&self, found: &RegisteredWebhook) -> Result<(), ProviderApiError> {
        let is_set = |kind: &str| found.events.iter().any(|name| name == kind);
        let set: Vec<_> =
            KINDS.iter().filter(|kind| is_set(kind.0)).map(|kind| (kind.2, "")).collect();
        self.set(&found.id, &set).await
    }
}

fn message(body: &Value) -> Option<String> {
    body["message"].as_str().map(str::to_owned)
}
