"""The public Python API, behind `imgmove` itself: one function a command, over a session of one's own or a passing one."""
