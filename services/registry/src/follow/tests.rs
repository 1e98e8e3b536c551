//! What a follower makes of an honest broker and of others.

mod broker;
mod observer;
