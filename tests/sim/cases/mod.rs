//! The cases, by topic.
