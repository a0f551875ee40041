//! The only unsafe code in the agent.
