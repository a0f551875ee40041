//! The collections, most volatile first.
