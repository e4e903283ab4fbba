//! The shell that carries a peer's inputs and outputs, generic over the runtime.
