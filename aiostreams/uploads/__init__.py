"""Where uploads go: storages for objects, all of them with the same promises."""
