//! The operator's policies (`--policy FILE`): a namespace's tiers, prices and defaults before any gateway calls.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_core::policy::Visible;
use tracing::warn;

use tollgate_store::app::check::{Configured, Offered};
use tollgate_store::app::tier::CompiledTier;

use crate::lint::{self, Kind};

/// Reads the policies in `files`: bare ones, or all in a configuration of Kong or Envoy.
///
/// # Errors
/// A policy is wrong; the lines are those of `tollgate check`.
pub fn read(files: &[PathBuf]) -> Result<Configured, Vec<String>> {
    let (mut policies, mut wrong) = (HashMap::new(), Vec::new());
    for file in files {
        wrong.extend(read_file(file, &mut policies).err().unwrap_or_default());
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(policies.into_iter().map(|(namespace, policy)| (namespace, Arc::new(policy))).collect())
}

fn read_file(file: &Path, policies: &mut HashMap<String, Offered>) -> Result<(), Vec<String>> {
    let name = file.display().to_string();
    let name = Visible(&name);
    let text = lint::read(file).map_err(|why| vec![format!("{name}: cannot be read: {why}")])?;
    let found = lint::policies(&text).map_err(|lines| {
        let wrong = lines.iter().filter(|line| line.kind == Kind::Wrong);
        wrong.map(|line| format!("{name}:{line}")).collect::<Vec<_>>()
    })?;
    for (line, policy) in found {
        let offered = Offered::of(&policy).map_err(|problem| vec![format!("{name}:{line}: {problem}")])?;
        match policies.get_mut(&policy.namespace) {
            Some(first) => join(&policy.namespace, first, offered.tiers),
            None => drop(policies.insert(policy.namespace, offered)),
        }
    }
    Ok(())
}

/// Joins two policies of one namespace: the defaults are the first one's, and the tiers are those of both.
fn join(namespace: &str, first: &mut Offered, tiers: Vec<Arc<CompiledTier>>) {
    for tier in tiers {
        match first.tiers.iter().find(|known| known.name == tier.name) {
            Some(known) if known.offer != tier.offer => {
                warn!(
                    namespace,
                    tier = &*tier.name,
                    "two policies define this tier differently; the first one is used"
                );
            }
            Some(_) => {}
            None => first.tiers.push(tier),
        }
    }
}
