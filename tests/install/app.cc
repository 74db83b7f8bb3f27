/* SPDX-License-Identifier: BSD-2-Clause */
/* app - the same in C++: regions that release themselves, a callback without captures. */
#include <pinmem.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <vector>

namespace
{
struct close_pinner {
	void operator()(pinmem *pm) const { pinmem_close(pm); }
};
struct dereg {
	void operator()(pinmem_mr *mr) const { pinmem_dereg(mr, PINMEM_DIRTY, nullptr); }
};

void must(int rc)
{
	if (rc)
		throw std::runtime_error(pinmem_errmsg());
}

void run()
{
	std::vector<char> buf(1 << 16);
	struct pinmem_stats stats = {}; // there is a function of this name
	pinmem *opened;
	must(pinmem_open(nullptr, &opened));
	std::unique_ptr<pinmem, close_pinner> pm(opened);
	pinmem_mr *registered;
	must(pinmem_reg(pm.get(), buf.data(), buf.size(), PINMEM_ACCESS_LOCAL_WRITE,
			nullptr, &registered));
	std::unique_ptr<pinmem_mr, dereg> mr(registered);
	int listed = 0;
	must(pinmem_mr_list(
		pm.get(),
		[](const pinmem_mr_info *, void *arg) {
			++*static_cast<int *>(arg);
			return 0;
		},
		&listed));
	stats.size = sizeof(stats);
	must(pinmem_stats(pm.get(), &stats));
	if (listed != 1 || stats.live_regions != 1)
		throw std::runtime_error("one region was registered, another number is listed");
	std::cout << "C++: " << stats.live_bytes << " bytes registered" << std::endl;
}
} // namespace

int main()
{
	try {
		run();
	} catch (const std::exception &e) {
		std::cerr << e.what() << std::endl;
		return 1;
	}
	return 0;
}
