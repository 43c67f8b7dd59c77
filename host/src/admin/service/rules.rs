//! The routing table and the schedules in force, and the refusals that are remembered.

use weir_core::name::SourceName;
use weir_core::route::Rule;

use super::{AdminService, views};
use crate::admin::error::ApiError;
use crate::api::{ListPage, RefusalView, RefusalsQuery, RuleView, ScheduleView};
use crate::schedules::ScheduleStatus;

impl AdminService {
    /// The rules that route events now, in their order.
    pub(crate) fn rules(&self) -> ListPage<RuleView> {
        let table = self.routes.current();
        let mut sources = self.ingress.source_names();
        if !self.schedules.current().is_empty() {
            sources.insert(SourceName::schedule());
        }
        let view = |rule: &Rule| RuleView {
            id: rule.id.to_string(),
            target: rule.target.clone(),
            patterns: rule.patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            condition: rule.condition.as_ref().map(|condition| condition.as_str().to_owned()),
            order_by: rule.order_by.as_ref().map(|order_by| order_by.as_str().to_owned()),
            sources: sources
                .iter()
                .filter(|source| rule.patterns.iter().any(|pattern| pattern.reaches(source)))
                .map(ToString::to_string)
                .collect(),
        };
        ListPage::whole(table.rules().iter().map(view))
    }

    /// The schedules with their next times.
    pub(crate) fn schedules(&self) -> ListPage<ScheduleView> {
        let view = |status: ScheduleStatus| ScheduleView {
            name: status.schedule.name.as_str().to_owned(),
            timing: status.schedule.timing.to_string(),
            missed: status.schedule.missed.as_str().to_owned(),
            next: status.next,
        };
        ListPage::whole(self.schedules.statuses(self.clock.now()).into_iter().map(view))
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
