//! The test vectors of a provider file: requests with a known verdict, verified whenever the file
//! is read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::table::VectorTable;
use super::{Provider, ProviderProblem};
use crate::request::RequestView;
use crate::time::Timestamp;
use crate::verify::{NamedSecret, Secret, Unverified};

impl Provider {
    /// Verifies every vector and returns the failures. A file needs a genuine and a forged request,
    /// or it proves nothing.
    #[must_use]
    pub fn check_vectors(&self) -> Vec<ProviderProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: String| {
            problems.push(ProviderProblem { path: format!("vectors.{path}"), message });
        };
        for (what, refused) in [("genuine", false), ("refused", true)] {
            if !self.table.vectors.iter().any(|v| v.refused.is_some() == refused) {
                problem("*", format!("at least one {what} request is needed"));
            }
        }
        for vector in &self.table.vectors {
            if let Err(failure) = self.check_vector(vector) {
                let message = format!("{failure} (from {})", vector.origin);
                problem(&vector.name, message);
            }
        }
        problems
    }

    /// The name of each vector, with the error code that it expects.
    pub fn vectors(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.table.vectors.iter().map(|v| (v.name.as_str(), v.refused.as_deref()))
    }

    fn check_vector(&self, vector: &VectorTable) -> Result<(), String> {
        let secrets: Vec<_> = vector
            .secret
            .0
            .iter()
            .map(|s| NamedSecret::new("vector", Secret::new(s.as_str())))
            .collect();
        let params = vector
            .params
            .iter()
            .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
            .collect();
        let verifier = self.verifier_with(&secrets, &params);
        let verifier = verifier.map_err(|error| error.to_string())?;
        let body = match (&vector.body, &vector.body_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).map_err(|_| "body_base64 is not base64")?,
            _ => return Err("give either body or body_base64".into()),
        };
        let headers: Vec<_> =
            vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = RequestView {
            method: &vector.method,
            url: &vector.url,
            headers: &headers,
            body: &body,
        };
        let now = Timestamp::from_millis(vector.now.saturating_mul(1000));
        match (verifier.verify(&request, now), &vector.refused) {
            (Ok(_), None) if !self.methods.contains(&vector.method) => {
                Err(format!("{} is not one of methods", vector.method))
            }
            (Ok(verified), None) => {
                let facts = self.facts(request);
                let found = self.identify(&facts, &verified).map_err(|error| error.to_string())?;
                let types = found.events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>();
                same("types", vector.types.as_deref(), &types)?;
                let ids = found.events.iter().map(|e| e.delivery_id.as_deref().unwrap_or(""));
                same("ids", vector.ids.as_deref(), &ids.collect::<Vec<_>>())
            }
            (Err(Unverified::Refused(refusal)), Some(code)) if refusal.code() == code => Ok(()),
            (Err(Unverified::Refused(refusal)), _) => {
                Err(format!("was refused: {}", refusal.code()))
            }
            (Ok(_), Some(_)) => Err("was accepted".into()),
            (Err(Unverified::NeedKey(_)), _) => Err("needs a key that must be fetched".into()),
        }
    }
}

fn same(what: &str, expected: Option<&[String]>, found: &[&str]) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(format!("{what} are {found:?}")),
        _ => Ok(()),
    }
}
