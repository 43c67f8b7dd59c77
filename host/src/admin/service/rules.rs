//! The routing table in force, and the refusals that are remembered.

use weir_core::route::Rule;

use super::{AdminService, views};
use crate::admin::error::ApiError;
use crate::api::{ListPage, RefusalView, RefusalsQuery, RuleView};

impl AdminService {
    /// The rules that route events now, in their order.
    pub(crate) fn rules(&self) -> ListPage<RuleView> {
        let table = self.routes.current();
        let sources = self.ingress.source_names();
        let view = |rule: &Rule| RuleView {
            id: rule.id.to_string(),
            target: rule.target.clone(),
            patterns: rule.patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            condition: rule.condition.as_ref().map(|condition| condition.as_str().to_owned()),
            sources: sources
                .iter()
                .filter(|source| rule.patterns.iter().any(|pattern| pattern.reaches(source)))
                .map(ToString::to_string)
                .collect(),
        };
        ListPage::whole(table.rules().iter().map(view))
    }

    /// The refusals that the hub remembers, newest first.
    pub(crate) async fn refusals(
        &self,
        query: RefusalsQuery,
    ) -> Result<ListPage<RefusalView>, ApiError> {
        let RefusalsQuery { source, limit } = query;
        let name = source.as_ref().map(|source| source.as_str());
        let found = self.ingress.refusals(name, limit.unwrap_or_default().get());
        if found.is_empty() {
            self.check_names(source.as_ref(), None).await?;
        }
        Ok(ListPage::whole(found.iter().map(views::refusal)))
    }
}
