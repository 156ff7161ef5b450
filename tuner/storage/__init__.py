"""Records in and out of SQLite or PostgreSQL; leases; paths of artifacts; migrations. It keeps and never decides."""
