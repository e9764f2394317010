//! `POST /v1/leases`: what gateways have spent, and what they are lent.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tollgate_core::wire::{Answer, Batch, CONTENT_TYPE, Entry, Reply, WireError};

use super::namespace::NamespaceState;
use super::problem::AppError;
use super::state::Store;
use super::tier::CompiledTier;
use super::usage_metrics::UsageEntry;
use super::{body, endpoints, name};
use crate::backend::AccountEntry;

/// Applies a node's reports, and lends it what it wants as far as limits and months allow.
#[utoipa::path(
    post, path = endpoints::LEASES, tag = "gateways", operation_id = "take",
    params(("tollgate-batch" = Option<String>, Header, description = "A batch in base64url; then there is no body.")),
    request_body(content = Vec<u8>, content_type = "application/vnd.tollgate.lease", description = "A batch, see the lease protocol."),
    responses((status = 200, content_type = "application/vnd.tollgate.lease", description = "The reply, one answer an entry."))
)]
pub async fn lend(State(store): State<Arc<Store>>, request: Request) -> Result<Response, AppError> {
    let bytes = body::batch(request, &store).await?;
    let reply = reply(&store, &bytes).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], reply.to_bytes()).into_response())
}

/// The reply to the batch in `bytes`.
///
/// # Errors
/// The bytes are no batch, or the backend fails.
pub async fn reply(store: &Store, bytes: &[u8]) -> Result<Reply, AppError> {
    let batch = read(bytes)?;
    let state = store.namespace(&batch.namespace).await?;
    if batch.revision > state.overrides().mark.revision {
        // Another replica has sent the node changes that this one has not seen.
        state.refresh(store.backend.as_ref()).await?;
    }
    apply(store, &state, batch).await
}

/// The batch in `bytes`.
fn read(bytes: &[u8]) -> Result<Batch, AppError> {
    let batch = Batch::from_bytes(bytes).map_err(|why| match why {
        WireError::TooLong => AppError::TooLarge(why.to_string()),
        WireError::Version(_) | WireError::Malformed => AppError::Malformed(why.to_string()),
    })?;
    name::namespace(&batch.namespace)?;
    Ok(batch)
}

async fn apply(store: &Store, state: &NamespaceState, batch: Batch) -> Result<Reply, AppError> {
    // The whole batch uses one index, so the node is sent the same overrides that decide.
    let overrides = state.overrides();
    let now = store.time_for(&overrides).await?;
    let tiers: Vec<Option<Arc<CompiledTier>>> =
        state.tiers(|tiers| batch.offers.iter().map(|offer| tiers.find(offer)).collect());
    // A client with an override may bring that override as its offer. It must not be taken for the tier.
    let mut is_tier = vec![true; tiers.len()];
    let mut usable = Vec::with_capacity(batch.entries.len());
    let mut entries = Vec::with_capacity(batch.entries.len());
    for entry in batch.entries {
        let index = usize::from(entry.offer);
        let overriding = if entry.is_anonymous { None } else { overrides.offered(entry.client, now) };
        if let (Some(_), Some(is_tier)) = (overriding, is_tier.get_mut(index)) {
            *is_tier = false;
        }
        let tier = overriding.or_else(|| tiers.get(index)?.as_ref());
        let apply = tier.and_then(|tier| prepare(state, entry, tier, batch.node));
        usable.push(apply.is_some());
        entries.extend(apply);
    }
    let tiers: Vec<&Arc<CompiledTier>> = tiers
        .iter()
        .zip(is_tier)
        .filter(|(_, is_tier)| *is_tier)
        .filter_map(|(tier, _)| tier.as_ref())
        .collect();
    state.learn(&tiers);

    let usage_entries: Vec<UsageEntry> = entries.iter().map(UsageEntry::of).collect();
    let applied = store.backend.apply(&state.name, entries).await?;
    store.usage_metrics.record(&state.name, &usage_entries, &applied.answers, applied.now, &store.metrics);
    let mut answers = applied.answers.into_iter();
    let answers = usable
        .into_iter()
        .map(|is_usable| if is_usable { answers.next().unwrap_or(Answer::Failed) } else { Answer::Unusable });
    let (is_whole, changes) = overrides.changes_since(batch.revision, applied.now);
    Ok(Reply {
        now: applied.now,
        revision: overrides.mark.revision,
        is_whole,
        changes,
        answers: answers.collect(),
    })
}

/// What the backend has to apply for `entry`, or `None` if the name is not the client's.
fn prepare(state: &NamespaceState, entry: Entry, tier: &CompiledTier, node: u64) -> Option<AccountEntry> {
    let name = entry.name.filter(|name| !name.is_empty() && !entry.is_anonymous);
    if name.as_ref().is_some_and(|name| !state.is_name(name, entry.client)) {
        return None;
    }
    Some(AccountEntry {
        client: entry.client,
        name,
        is_anonymous: entry.is_anonymous,
        tier: Arc::clone(&tier.name),
        terms: Arc::clone(&tier.terms),
        node,
        ask: entry.ask,
    })
}
