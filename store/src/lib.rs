//! What the `tollgate` command does besides reading its command line: [`check`]ing the policies in a file.

pub mod backend;
pub mod check;
