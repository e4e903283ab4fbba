//! The judge: decides whether a recorded history is ZooKeeper-consistent.
