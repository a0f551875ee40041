//! A reason to capture, and which processes it means. Pure.
