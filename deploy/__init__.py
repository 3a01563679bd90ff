"""What Trunkline needs around itself: the test stack's starter, and later its images and manifests."""
