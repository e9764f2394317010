//! `GET /v1/audit/{namespace}`: who changed what, and why.

use std::sync::Arc;
use tollgate_core::units::UnixMicros;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::override_spec::OverrideSpec;
use crate::app::body::QueryString;
use crate::app::name::NamespacePath;
use crate::app::problem::AppError;
use crate::app::state::Store;
use crate::app::{endpoints, moment};

/// The most lines of one answer.
pub const MOST: usize = 1_000;

/// What an admin did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An override was set.
    OverrideSet,
    /// An override was removed.
    OverrideRemoved,
    /// An override has expired.
    OverrideExpired,
    /// A bucket or a month was reset.
    Reset,
    /// A customer was made to pay for some days.
    CustomerSet,
    /// Nobody pays from some day on.
    CustomerRemoved,
}

/// One line of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Line<'a> {
    /// When, as RFC 3339.
    pub at: String,
    /// Who claims to have done it, or `tollgate` if an override has expired.
    pub actor: &'a str,
    /// What was done.
    pub action: Action,
    /// To which consumer.
    pub consumer: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The new override. The backend adds the previous one: see [`Line::to_change`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a OverrideSpec>,
    /// For a reset: whether the bucket was filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<bool>,
    /// For a reset: whether the month was set back to zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<bool>,
}

impl Line<'_> {
    /// The line as the backend keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts and flags can always be written as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The line of a change of an override, and where in it the backend has to insert the previous override.
    #[must_use]
    pub fn to_change(&self) -> (Vec<u8>, usize) {
        let mut line = self.to_bytes();
        line.pop();
        line.extend(b",\"before\":");
        let place = line.len();
        line.push(b'}');
        (line, place)
    }
}

/// The line as an admin reads it. The backend keeps the whole previous override; this shows what the admin wrote then.
fn read_line(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut line: Map<String, Value> = serde_json::from_slice(bytes)?;
    match line.remove("before") {
        None | Some(Value::Null) => {}
        Some(mut before) => {
            let spec = before.get_mut("wish").map(Value::take);
            line.insert("before".to_owned(), spec.unwrap_or(before));
        }
    }
    Ok(line)
}

/// The line for an expired override of `consumer`, and where in it the override is inserted.
#[must_use]
pub fn expired(consumer: &str, now: UnixMicros) -> (Vec<u8>, usize) {
    let line = Line {
        at: moment::rfc3339(now),
        actor: "tollgate",
        action: Action::OverrideExpired,
        consumer,
        reason: "its expires_at is past",
        after: None,
        bucket: None,
        month: None,
    };
    line.to_change()
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// The most lines, 1 to 1000. The default is 100.
    limit: Option<usize>,
    /// Only lines with a lower number. The default is to start with the newest.
    // It has no format, because OpenAPI's 64 bit format is signed.
    #[param(value_type = Option<usize>)]
    before: Option<u64>,
}

/// Some lines of the log, newest first.
#[derive(Serialize, ToSchema)]
pub struct Lines {
    /// The lines, each with its `number`.
    #[schema(value_type = Vec<Object>)]
    lines: Vec<Value>,
    /// The `before` of the next older page, or null if there is none.
    next: Option<u64>,
}

/// Lists who changed what in a namespace.
#[utoipa::path(
    get, path = endpoints::AUDIT, tag = "admins",
    params(("namespace" = String, Path), Which), responses((status = 200, body = Lines))
)]
pub async fn read(
    State(store): State<Arc<Store>>,
    NamespacePath(namespace): NamespacePath,
    QueryString(which): QueryString<Which>,
) -> Result<Json<Lines>, AppError> {
    let limit = which.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(AppError::Malformed(format!("limit is out of range; write 1 to {MOST}")));
    }
    let read = store.backend.audit(&namespace, which.before, limit).await?;
    let next = read.last().map(|(number, _)| *number).filter(|number| read.len() == limit && *number > 1);
    let lines = read.into_iter().map(|(number, bytes)| {
        let mut line = read_line(&bytes)
            .map_err(|why| AppError::corrupt(&format!("line {number} of {namespace}'s audit log: {why}")))?;
        line.insert("number".to_owned(), number.into());
        Ok(line.into())
    });
    Ok(Json(Lines { lines: lines.collect::<Result<_, AppError>>()?, next }))
}
