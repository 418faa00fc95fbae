//! Recovery targets, restore plans, and carrying them out
