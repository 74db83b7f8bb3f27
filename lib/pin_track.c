/* SPDX-License-Identifier: BSD-2-Clause */
/* pin_track.c - is /dev/pin_track here, and what does it say of itself? */
#include "pin_track.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

static int fail_open(int err)
{
	struct rlimit lim = { 0, 0 };

	switch (err) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return fail(EOPNOTSUPP, "there is no " PIN_TRACK_DEVICE
					": this kernel was built without "
					"kernel/pin_track.patch, or its module "
					"pin_track is not loaded");
	case EACCES:
	case EPERM:
		return fail(EOPNOTSUPP,
			    PIN_TRACK_DEVICE
			    " may not be opened for reading and writing (%s): its "
			    "mode, which is 0666 unless changed, or the device rules "
			    "of a container forbid it",
			    strerror(err));
	case EMFILE:
		getrlimit(RLIMIT_NOFILE, &lim);
		return fail(err,
			    "no file descriptor for " PIN_TRACK_DEVICE
			    ": RLIMIT_NOFILE is %" PRIu64,
			    (uint64_t)lim.rlim_cur);
	default:
		return fail(err, PIN_TRACK_DEVICE " cannot be opened: %s",
			    strerror(err));
	}
}

int pin_track_open(int flags, uint64_t features, struct uapi_pin_track_info *info)
{
	int fd = open(PIN_TRACK_DEVICE, O_RDWR | O_CLOEXEC | flags), rc;

	if (fd < 0)
		return fail_open(errno);
	*info = (struct uapi_pin_track_info){ .size = sizeof(*info) };
	if (ioctl(fd, UAPI_PIN_TRACK_IOC_INFO, info))
		rc = fail(EOPNOTSUPP,
			  PIN_TRACK_DEVICE " does not tell what it is, so it is not "
					   "that of kernel/pin_track.patch: %s",
			  strerror(errno));
	else if ((info->features & features) != features)
		rc = fail(EOPNOTSUPP,
			  PIN_TRACK_DEVICE " (version %u) has the features 0x%" PRIx64
					   ": 0x%" PRIx64 " are needed",
			  info->version, (uint64_t)info->features, features);
	else
		return fd;
	close(fd);
	return rc;
}
