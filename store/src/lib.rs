//! What the `tollgate` command does besides reading its command line: it [`check`]s the policies in a file, and it
//! [`serve`]s the store's [`app`] with the [`settings`] it was given, on a [`backend`].

pub mod app;
pub mod backend;
pub mod check;
pub mod serve;
pub mod settings;
