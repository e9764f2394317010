//! `/v1/overrides/…`: another tier for one consumer, or its own limits.

use std::sync::Arc;
use tollgate_core::units::UnixMicros;

use crate::accounts::month_of;
use axum::Json as Answered;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate_core::terms::Offer;
use tracing::debug;
use utoipa::{IntoParams, ToSchema};

use super::audit::{Action, Line};
use super::override_spec::{OverrideSpec, StoredOverride};
use super::{Actor, check_reason};
use crate::app::body::{Json, QueryString};
use crate::app::name::{ConsumerPath, NamespacePath};
use crate::app::namespace::NamespaceState;
use crate::app::problem::AppError;
use crate::app::state::Store;
use crate::app::{endpoints, moment};
use crate::backend::{Changed, Condition, OverrideChange};

/// The most overrides of a namespace. Every node is sent each of them.
const MOST: u64 = 10_000;

/// An override in force.
#[derive(Serialize, ToSchema)]
pub struct Override {
    namespace: String,
    consumer: String,
    #[serde(flatten)]
    spec: OverrideSpec,
    /// Who set it.
    actor: String,
    /// When it was set, as RFC 3339.
    since: String,
    /// The namespace's revision that it came with.
    revision: u64,
    /// What the consumer is offered.
    #[schema(value_type = Object)]
    offer: Offer,
}

impl Override {
    fn of(state: &NamespaceState, consumer: &str, revision: u64, stored: &StoredOverride) -> Self {
        Self {
            namespace: state.name.clone(),
            consumer: consumer.to_owned(),
            spec: stored.spec.clone(),
            actor: stored.actor.clone(),
            since: moment::rfc3339(stored.at),
            revision,
            offer: state.tiers(|tiers| stored.offer(tiers)),
        }
    }
}

/// All overrides of a namespace.
#[derive(Serialize, ToSchema)]
pub struct Overrides {
    /// All of them, sorted by consumer.
    overrides: Vec<Override>,
}

/// Lists the overrides of a namespace.
#[utoipa::path(
    get, path = endpoints::OVERRIDES, tag = "admins",
    params(("namespace" = String, Path)), responses((status = 200, body = Overrides))
)]
pub async fn list(
    State(store): State<Arc<Store>>,
    NamespacePath(namespace): NamespacePath,
) -> Result<Answered<Overrides>, AppError> {
    let state = refreshed(&store, &namespace).await?;
    let now = store.backend.now().await?;
    let index = state.overrides();
    let all = index.all().into_iter().filter(|(.., stored)| !stored.is_over(now));
    let overrides = all.map(|(consumer, revision, stored)| Override::of(&state, consumer, revision, stored));
    Ok(Answered(Overrides { overrides: overrides.collect() }))
}

/// Reads a consumer's override.
#[utoipa::path(
    get, path = endpoints::OVERRIDE, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path)),
    responses((status = 200, body = Override), (status = 404, description = "It has none."))
)]
pub async fn get(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
) -> Result<Answered<Override>, AppError> {
    let state = refreshed(&store, &whose.namespace).await?;
    let now = store.backend.now().await?;
    let index = state.overrides();
    let (revision, stored) = in_force(index.get(whose.client), now)?;
    Ok(Answered(Override::of(&state, &whose.consumer, revision, stored)))
}

/// Sets a consumer's override. It is in force on every gateway within two seconds.
#[utoipa::path(
    put, path = endpoints::OVERRIDE, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path), ("x-actor" = Option<String>, Header)),
    request_body = OverrideSpec,
    responses((status = 200, body = Override), (status = 422, description = "It cannot be granted; the detail says what to write."))
)]
pub async fn put(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    Actor(actor): Actor,
    Json(spec): Json<OverrideSpec>,
) -> Result<Answered<Override>, AppError> {
    let backend = store.backend.as_ref();
    let state = store.namespace(&whose.namespace).await?;
    // Another replica may know more tiers.
    state.merge_tiers(backend).await?;
    let now = backend.now().await?;
    whose.check_listed(backend, now).await?;
    let seen = match spec.tier {
        Some(_) => None,
        None => backend.usage(&state.name, whose.client, month_of(now)).await?.map(|usage| usage.tier),
    };
    let stored = state.tiers(|tiers| StoredOverride::of(spec, seen, tiers, actor, now))?;
    let line = Line {
        at: moment::rfc3339(now),
        actor: &stored.actor,
        action: Action::OverrideSet,
        consumer: &whose.consumer,
        reason: &stored.spec.reason,
        after: Some(&stored.spec),
        bucket: None,
        month: None,
    };
    let value = serde_json::to_vec(&stored).map_err(|why| AppError::Unprocessable(why.to_string()))?;
    let (line, before_at) = line.to_change();
    let (condition, before_at) = (Condition::None, Some(before_at));
    let change = OverrideChange { value: Some(value), line, before_at, condition, most: MOST };
    let Changed::To(revision) = backend.change_override(&state.name, &whose.consumer, change).await? else {
        return Err(AppError::Unprocessable(format!(
            "this namespace has {MOST} overrides already; remove some, or give these consumers a tier"
        )));
    };
    refresh_now(&state, &store).await;
    Ok(Answered(Override::of(&state, &whose.consumer, revision, &stored)))
}

/// Why an override is removed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Why {
    /// The reason, for the audit log.
    reason: Option<String>,
}

/// Removes a consumer's override.
#[utoipa::path(
    delete, path = endpoints::OVERRIDE, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path), ("x-actor" = Option<String>, Header), Why),
    responses(
        (status = 204, description = "It is removed."),
        (status = 404, description = "It has none."),
        (status = 422, description = "The reason is empty or too long.")
    )
)]
pub async fn delete(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    Actor(actor): Actor,
    QueryString(why): QueryString<Why>,
) -> Result<StatusCode, AppError> {
    if let Some(reason) = &why.reason {
        check_reason(reason)?;
    }
    let backend = store.backend.as_ref();
    let state = refreshed(&store, &whose.namespace).await?;
    let now = backend.now().await?;
    in_force(state.overrides().get(whose.client), now)?;
    let line = Line {
        at: moment::rfc3339(now),
        actor: &actor,
        action: Action::OverrideRemoved,
        consumer: &whose.consumer,
        reason: why.reason.as_deref().unwrap_or_default(),
        after: None,
        bucket: None,
        month: None,
    };
    let (line, before_at) = line.to_change();
    let (condition, before_at) = (Condition::IsSet, Some(before_at));
    let change = OverrideChange { line, before_at, condition, ..OverrideChange::default() };
    let changed = backend.change_override(&state.name, &whose.consumer, change).await?;
    refresh_now(&state, &store).await;
    match changed {
        Changed::To(_) => Ok(StatusCode::NO_CONTENT),
        Changed::NotMet | Changed::Full => Err(none()),
    }
}

/// Reads the change back, so that this replica uses it at once. The change stands even if that fails.
async fn refresh_now(state: &NamespaceState, store: &Store) {
    if let Err(why) = state.refresh(store.backend.as_ref()).await {
        debug!(namespace = state.name, %why, "this replica uses the change after its next refresh");
    }
}

fn none() -> AppError {
    AppError::NotFound("this consumer has no override".to_owned())
}

fn in_force(
    found: Option<(u64, &StoredOverride)>,
    now: UnixMicros,
) -> Result<(u64, &StoredOverride), AppError> {
    let found = found.filter(|(_, stored)| !stored.is_over(now));
    found.ok_or_else(none)
}

/// The namespace with the changes of all replicas.
async fn refreshed(store: &Store, namespace: &str) -> Result<Arc<NamespaceState>, AppError> {
    let state = store.namespace(namespace).await?;
    state.refresh(store.backend.as_ref()).await?;
    Ok(state)
}
