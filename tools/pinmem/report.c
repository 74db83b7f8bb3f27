#include "report.h"
int report_write(const char *dir){(void)dir;return 0;}
