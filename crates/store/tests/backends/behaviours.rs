//! The behaviors of every backend. Each has a namespace of its own, so that all of them can run at once.

mod consumers;
mod customers;
mod days;
mod forgetting;
mod lending;
mod listing;
mod names;
mod reserving;
mod telling;

use std::pin::Pin;
use std::sync::Arc;

use tokio::task::{LocalSet, spawn_local};
use tollgate_store::backend::Backend;

type Behaviour = Pin<Box<dyn Future<Output = ()>>>;

/// Runs all of them, and names those that do not hold.
pub async fn all(backend: Arc<dyn Backend>) {
    LocalSet::new().run_until(at_once(backend)).await;
}

async fn at_once(backend: Arc<dyn Backend>) {
    macro_rules! list {
        ($($module:ident :: $name:ident),* $(,)?) => {
            [$((
                stringify!($name),
                Box::pin($module::$name(Arc::clone(&backend), stringify!($name))) as Behaviour,
            )),*]
        };
    }
    let behaviours = list![
        lending::a_node_is_lent_what_it_needs_and_no_two_the_same,
        lending::a_report_counts_once,
        lending::a_lease_that_nobody_reports_on_counts_as_spent,
        lending::many_tasks_at_once_never_get_more_than_the_limit,
        lending::many_nodes_at_once_never_hold_more_than_the_limit,
        lending::a_large_batch_is_answered_in_its_order,
        lending::the_clock_never_goes_back,
        forgetting::an_anonymous_client_is_forgotten_once_its_bucket_is_full,
        forgetting::a_consumer_is_not_forgotten,
        listing::every_consumer_with_use_is_listed_once,
        listing::usage_tells_the_tier_that_was_seen_last,
        consumers::whoever_is_charged_can_be_found_and_kept,
        consumers::a_long_name_has_one_spelling,
        days::what_is_reported_late_counts_on_its_own_day,
        days::what_comes_back_comes_off_its_day,
        days::every_consumer_is_listed_once_with_its_days,
        customers::a_consumers_customers_change_with_their_line_and_only_from_what_was_read,
        customers::consumers_with_customers_are_in_the_order_of_their_bytes,
        customers::a_page_of_long_rows_has_few,
        customers::customers_are_of_their_namespace,
        customers::all_customers_are_walked_through_once_each,
        customers::of_many_changes_from_one_state_one_is_made,
        names::no_name_is_too_strange,
        names::namespaces_do_not_see_each_other,
        reserving::what_is_reserved_is_charged_at_once_and_settled_once,
        reserving::a_repeated_call_charges_nothing_and_gets_the_first_answer,
        reserving::a_refused_reservation_holds_nothing,
        reserving::what_is_not_settled_in_time_stays_spent_and_is_forgotten,
        reserving::many_callers_at_once_never_hold_more_than_the_limit,
        reserving::many_calls_at_once_settle_once,
        reserving::a_reservation_is_of_its_namespace_and_client,
        telling::a_reset_makes_the_bucket_full_and_the_month_untouched,
        telling::an_override_counts_the_revision_up,
        telling::removals_and_resets_are_remembered_for_a_while,
        telling::the_log_is_read_from_its_end,
        telling::changes_at_once_all_count,
        telling::a_change_is_made_only_where_its_condition_holds_and_knows_what_was_there,
        telling::what_has_changed_is_told_to_whoever_knows_the_rest,
        telling::a_document_is_what_was_put_last,
    ];
    let running = behaviours.map(|(name, behaviour)| (name, spawn_local(behaviour)));
    let mut broken = Vec::new();
    for (name, behaviour) in running {
        if behaviour.await.is_err() {
            broken.push(name);
        }
    }
    assert!(broken.is_empty(), "{} does not hold: {broken:?}", backend.kind());
}
