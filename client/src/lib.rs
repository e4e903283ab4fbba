//! ZooKeeper sessions from the other side.
