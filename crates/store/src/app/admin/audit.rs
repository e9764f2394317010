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

/// Lines of one answer, unless fewer are asked for.
pub const MOST: usize = 1_000;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An override was set.
    OverrideSet,
    /// An override was removed.
    OverrideRemoved,
    /// An override came to its end.
    OverrideExpired,
    /// A bucket or a month was made whole.
    Reset,
}

/// One line of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Line<'a> {
    /// When, RFC 3339.
    pub at: String,
    /// Who says to have done it; `tollgate` itself for what came to its end.
    pub actor: &'a str,
    /// What.
    pub action: Action,
    /// To whom.
    pub consumer: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The override after. What it was before the backend knows, and writes it in: see [`Line::to_change`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a OverrideSpec>,
    /// Of a reset: whether the bucket is full again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<bool>,
    /// Of a reset: whether the month is back at zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<bool>,
}

impl Line<'_> {
    /// As the backend keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts and flags have no value that JSON lacks.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same for a change of an override, and the place in it where the override belongs that was there before.
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

/// A line as an admin reads it. The backend has written whole what was there before; what the admin wrote then is in it.
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

/// The line that says that `consumer`'s override came to its end, and the place of what it was.
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
    /// At most so many, 1 to 1000; left out: 100.
    limit: Option<usize>,
    /// Those with a number below this one; left out: from the newest.
    // Without a format: that of 64 bits is signed.
    #[param(value_type = Option<usize>)]
    before: Option<u64>,
}

/// Some lines of the log, newest first.
#[derive(Serialize, ToSchema)]
pub struct Lines {
    /// Each with its `number`.
    #[schema(value_type = Vec<Object>)]
    lines: Vec<Value>,
    /// Ask for `before` this for older ones; null: there are none.
    next: Option<u64>,
}

/// Who changed what in a namespace.
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
