//! One limit over all gateways: what a node may spend without asking, and how the store lends it.
//!
//! ```text
//! node: request ─▶ spends from its lease in the table              no call
//!       tick    ─▶ Batch { what was spent, what is held, what is wanted } ─▶ store
//! store:           account::settle: takes the report, lends what bucket and month still hold ─▶ what may be held
//! ```
//!
//! The store's account of a client is [`account::Account`]; all of its arithmetic is [`account::Account::settle`], which
//! the memory and redb backends call and the Redis backend has once more as a Lua script, proven equal. [`terms`] are a
//! tier's limits in the store's numbers, [`wire`] are the messages, [`client`] is how both ends name a client, and [`name`] how
//! its name is written.

pub mod account;
pub mod borrower;
pub mod breaker;
pub mod client;
pub mod hold;
pub mod name;
pub mod terms;
pub mod wire;
