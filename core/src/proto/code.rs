//! Numbers with names: operations, errors, watch events. No behaviour.
//!
//! Answers to `ZooDefs.OpCode`, `KeeperException.Code` and `Watcher.Event.EventType`.

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(i32)]
        pub enum $name {
            $($(#[$vdoc])* $variant = $code,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The number on the wire.
            pub const fn to_wire(self) -> i32 {
                self as i32
            }

            /// The one with this number on the wire, if any.
            pub const fn from_wire(code: i32) -> Option<$name> {
                match code {
                    $($code => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

wire_enum! {
    /// What a client asks for, and the type of a transaction record.
    OpCode {
        /// Never a request; the type of watch notifications.
        Notification = 0,
        /// Create, answered with the path.
        Create = 1,
        /// Delete.
        Delete = 2,
        /// Stat of a node, or its absence.
        Exists = 3,
        /// Data and stat.
        GetData = 4,
        /// Replace the data.
        SetData = 5,
        /// ACL and stat.
        GetAcl = 6,
        /// Replace the ACL.
        SetAcl = 7,
        /// Names of the children.
        GetChildren = 8,
        /// Bring this server up to the leader.
        Sync = 9,
        /// Keep the session alive.
        Ping = 11,
        /// Names of the children and stat.
        GetChildren2 = 12,
        /// Compare the version; inside multi only.
        Check = 13,
        /// Several writes, all or none.
        Multi = 14,
        /// Create, answered with path and stat.
        Create2 = 15,
        /// Change the ensemble.
        Reconfig = 16,
        /// Is there such a watch?
        CheckWatches = 17,
        /// Take watches away.
        RemoveWatches = 18,
        /// Create a container.
        CreateContainer = 19,
        /// Remove an empty container; never from a client.
        DeleteContainer = 20,
        /// Create with a time to live.
        CreateTtl = 21,
        /// Several reads.
        MultiRead = 22,
        /// Add an identity to the connection.
        Auth = 100,
        /// Register watches again after a reconnect.
        SetWatches = 101,
        /// A step of a SASL exchange.
        Sasl = 102,
        /// Own ephemerals under a prefix.
        GetEphemerals = 103,
        /// Number of descendants.
        GetAllChildrenNumber = 104,
        /// SetWatches with persistent ones.
        SetWatches2 = 105,
        /// Add a persistent watch.
        AddWatch = 106,
        /// Identities of the connection.
        WhoAmI = 107,
        /// Open a session; a transaction, never a request on an open session.
        CreateSession = -10,
        /// Close a session.
        CloseSession = -11,
        /// A failed write, in the log and in results of multi.
        Error = -1,
    }
}

wire_enum! {
    /// Why a request failed. The numbers are a contract: clients throw on ones they do not know.
    ErrorCode {
        /// It did not.
        Ok = 0,
        /// Something inside broke; not normally sent.
        SystemError = -1,
        /// In multi: not attempted because an earlier operation failed.
        RuntimeInconsistency = -2,
        /// Not sent.
        DataInconsistency = -3,
        /// Made by clients.
        ConnectionLoss = -4,
        /// The body cannot be decoded.
        MarshallingError = -5,
        /// No such operation here.
        Unimplemented = -6,
        /// Made by clients.
        OperationTimeout = -7,
        /// Invalid path, flags or argument.
        BadArguments = -8,
        /// Inside the session tracker.
        UnknownSession = -12,
        /// Reconfig without a synced quorum of the new ensemble.
        NewConfigNoQuorum = -13,
        /// Another reconfig is pending.
        ReconfigInProgress = -14,
        /// Marker: codes below are the user's.
        ApiError = -100,
        /// No such node, or no parent to create under.
        NoNode = -101,
        /// The ACL denies.
        NoAuth = -102,
        /// The expected version is not the current one.
        BadVersion = -103,
        /// The parent is ephemeral.
        NoChildrenForEphemerals = -108,
        /// The node is there already.
        NodeExists = -110,
        /// The node has children.
        NotEmpty = -111,
        /// The session is closed, closing or unknown.
        SessionExpired = -112,
        /// Made by clients.
        InvalidCallback = -113,
        /// The ACL is empty or malformed.
        InvalidAcl = -114,
        /// Authentication failed; the connection is closed after it.
        AuthFailed = -115,
        /// The session is attached elsewhere now; never a reply, the connection is closed.
        SessionMoved = -118,
        /// A write on a read-only server.
        NotReadOnly = -119,
        /// An ephemeral of a local session.
        EphemeralOnLocalSession = -120,
        /// No such watch.
        NoWatcher = -121,
        /// Made by clients.
        RequestTimeout = -122,
        /// Reconfig is switched off.
        ReconfigDisabled = -123,
        /// Enforced authentication is missing.
        SessionClosedRequireSaslAuth = -124,
        /// A hard quota would be exceeded.
        QuotaExceeded = -125,
        /// The request waited too long in the throttler.
        ThrottledOp = -127,
    }
}

wire_enum! {
    /// What happened to a watched node. Only those that a server sends.
    EventType {
        /// It is there now.
        NodeCreated = 1,
        /// It is gone.
        NodeDeleted = 2,
        /// Its data changed.
        NodeDataChanged = 3,
        /// A child came or went.
        NodeChildrenChanged = 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_one_thing_each() {
        for &op in OpCode::ALL {
            assert_eq!(OpCode::from_wire(op.to_wire()), Some(op));
        }
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.to_wire()), Some(code));
        }
        assert_eq!(OpCode::from_wire(10), None);
        assert_eq!(ErrorCode::from_wire(-9), None);
        assert_eq!(EventType::from_wire(5), None);
    }
}
